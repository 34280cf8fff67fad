"""Web pages in a browser on this machine cannot use a service that asks for no key."""

from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.app.conftest import RunningService
from tests.app.keys import new_key, with_key
from tests.app.service import StartService
from tests.app.test_bad_input import assert_problem

NOT_OURS = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "localhost#evil.example",
    "evil.example@localhost",
    "localhost@evil.example",
    "localhost:80:80",
    "0.0.0.0:8000",
    "192.168.0.7",
    "[::2]",
    "[::1",
    "xlocalhost",
    "",
]


@pytest.fixture
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


@pytest.mark.parametrize("host", NOT_OURS)
@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/export", "/docs", "/metrics"])
def test_it_does_not_answer_to_names_that_are_not_of_this_machine(
    client: httpx.Client, host: str, path: str
) -> None:
    refused = client.get(path, headers={"host": host})
    assert refused.status_code == 403, refused.text
    assert_problem(refused, "host-not-allowed")


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:8000", "localhost.", "127.0.0.1:1", "127.1.2.3", "[::1]:80", "a.localhost"],
)
def test_it_answers_to_every_name_of_this_machine(client: httpx.Client, host: str) -> None:
    assert client.get("/v1/sessions", headers={"host": host}).status_code == 200


def test_it_answers_to_further_names_by_setting(start_service: StartService) -> None:
    client = start_service(allowed_hosts=["Perdure.home"])
    assert client.get("/v1/sessions", headers={"host": "perdure.HOME:8000"}).status_code == 200
    assert client.get("/v1/sessions", headers={"host": "x.perdure.home"}).status_code == 403


def test_errors_of_openais_addresses_have_its_form(client: httpx.Client) -> None:
    refused = client.get("/v1/models", headers={"host": "evil.example"})
    assert refused.status_code == 403
    assert refused.json()["error"]["type"] == "permission_error"
    assert refused.json()["error"]["code"] == "host_not_allowed"


@pytest.mark.parametrize(
    "sent",
    [
        {"json": {}},
        {"content": b"{}", "headers": {"content-type": "text/plain"}},
        {"content": b"", "headers": {}},
        {"data": {"a": "b"}},
        {"files": {"file": ("a.txt", b"Of the voyage.")}},
    ],
)
@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:1", "null", "http://\xff"])
def test_pages_of_other_origins_change_nothing(
    client: httpx.Client, sent: dict[str, Any], origin: str
) -> None:
    headers = {**sent.get("headers", {}), "origin": origin.encode("latin-1")}
    for method, path in (
        ("POST", "/v1/sessions"),
        ("POST", "/v1/documents"),
        ("POST", "/v1/import"),
        ("DELETE", "/v1/users/mina"),
    ):
        refused = client.request(method, path, **{**sent, "headers": headers})
        assert refused.status_code == 403, refused.text
        assert_problem(refused, "origin-not-allowed")
    assert client.get("/v1/sessions").json()["data"] == []
    assert client.get("/v1/documents").json()["data"] == []


def test_its_own_pages_and_those_of_the_settings_are_served(start_service: StartService) -> None:
    client = start_service(cors_origins=["https://chat.example.org"])
    own = f"http://{client.base_url.host}:{client.base_url.port}"
    for origin in (own, "https://chat.example.org"):
        assert client.post("/v1/sessions", json={}, headers={"origin": origin}).status_code == 201
    asked = client.options(
        "/v1/sessions",
        headers={"origin": "https://chat.example.org", "access-control-request-method": "POST"},
    )
    assert asked.status_code == 200
    assert (
        client.post("/v1/sessions", json={}, headers={"origin": "https://other.example"}).status_code == 403
    )


def test_where_a_key_is_needed_the_key_decides(running_service: RunningService) -> None:
    settings = Settings(require_key=True)
    with running_service(settings) as client:
        headers = {"host": "chat.example.org", "origin": "https://evil.example"}
        assert client.post("/v1/sessions", json={}, headers=headers).status_code == 401
        with with_key(client, new_key(settings.home)) as known:
            assert known.post("/v1/sessions", json={}, headers=headers).status_code == 201
