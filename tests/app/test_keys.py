"""API keys: who is let in, with what, how much, and that nobody else learns of them."""

import asyncio
import logging
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from app.access.authentication import is_loopback
from app.access.limits import Allowance, Bucket
from app.access.principal import KeyLimits, Scope
from app.access.rules import needed_scope
from app.access.secrets import new_secret
from app.errors import RateLimitProblem
from app.logs import configure_logs
from app.settings import Settings
from app.storage.claims import OwnClaims
from tests.app.command_line import perdure
from tests.app.keys import new_key, perdure_keys, with_key
from tests.app.service import StartService, open_stream, until
from tests.app.standard import CHAT_MODEL, EMBEDDING_MODEL


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def problem_of(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["type"]).removeprefix("urn:perdure:problem:")


def say(client: httpx.Client, session_id: str, **body: Any) -> httpx.Response:
    return client.post(f"/v1/sessions/{session_id}/messages", json={"content": "Hi", "max_tokens": 2, **body})


def new_session(client: httpx.Client) -> str:
    return str(client.post("/v1/sessions", json={}).json()["id"])


def test_on_loopback_no_key_is_needed_and_one_speaks_for_its_tenant(client: httpx.Client, home: Path) -> None:
    mine = new_session(client)
    with with_key(client, new_key(home, "--tenant", "other")) as other:
        assert other.get(f"/v1/sessions/{mine}").status_code == 404
        theirs = new_session(other)
    assert client.get(f"/v1/sessions/{theirs}").status_code == 404
    with with_key(client, new_key(home)) as own:
        assert own.get(f"/v1/sessions/{mine}").status_code == 200
    with with_key(client, "a-key-of-some-other-service") as careless:
        assert careless.get(f"/v1/sessions/{mine}").status_code == 200
    with with_key(client, new_secret()) as unknown:
        assert unknown.get(f"/v1/sessions/{mine}").status_code == 401


def test_a_key_is_needed_for_all_but_health_and_docs_where_that_is_set(
    start_service: StartService, home: Path
) -> None:
    client = start_service(require_key=True)
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert client.get(path).status_code == 200, path
    broken = {"content": b"{", "headers": {"Content-Type": "application/json"}}
    for answer in (
        client.get("/v1/sessions"),
        client.post("/v1/sessions", **broken),  # type: ignore[arg-type]
        client.get("/metrics"),
        client.get("/no/such/path"),
        client.get("/v1/sessions", headers={"Authorization": "Bearer something"}),
        client.get("/v1/sessions", headers={"Authorization": "Basic something"}),
        client.get("/v1/sessions", headers={"X-Api-Key": new_secret()}),
    ):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert problem_of(answer) == "key-needed"
    key = new_key(home)
    assert client.get("/v1/sessions", headers={"Authorization": f"bearer {key}"}).status_code == 200
    assert client.get("/v1/sessions", headers={"X-Api-Key": key}).status_code == 200


def test_a_running_service_refuses_a_key_as_soon_as_it_is_revoked_or_expired(
    start_service: StartService, home: Path
) -> None:
    client = start_service(require_key=True)
    key, other = new_key(home), new_key(home, "--days", "1")
    with with_key(client, key) as first, with_key(client, other) as second:
        assert first.get("/v1/sessions").status_code == second.get("/v1/sessions").status_code == 200
        listed = perdure_keys(home, "list").stdout
        assert key[:12] in listed
        assert key not in listed
        assert "until 2" in listed
        assert perdure_keys(home, "revoke", key[:12]).exit_code == 0
        assert first.get("/v1/sessions").status_code == 401
        assert second.get("/v1/sessions").status_code == 200
        _expire(home, other)
        assert second.get("/v1/sessions").status_code == 401
    assert "revoked 2" in perdure_keys(home, "list").stdout
    assert perdure_keys(home, "revoke", "key_nobody").exit_code == 2


def test_the_secret_is_stored_nowhere_and_its_use_is_noted(start_service: StartService, home: Path) -> None:
    client = start_service()
    key = new_key(home)
    with with_key(client, key) as mine:
        mine.get("/v1/sessions")
        assert any("never" not in perdure_keys(home, "list").stdout for _ in range(100))
    for file in home.glob("perdure.sqlite3*"):
        assert key.encode() not in file.read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        ["create", "x" * 300],
        ["create", " "],
        ["create", "test", "--tenant", "t" * 65],
        ["create", "test", "--tenant", ""],
        ["create", "test", "--user", "a\nb"],
        ["create", "test", "--scope", "everything"],
        ["create", "test", "--days", "0"],
        ["create", "test", "--requests-per-minute", "-1"],
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(home: Path, arguments: list[str]) -> None:
    assert perdure_keys(home, *arguments).exit_code == 2
    assert "prd_" not in perdure_keys(home, "list").stdout


def test_a_key_can_do_what_its_scopes_say_and_nothing_else(start_service: StartService, home: Path) -> None:
    client = start_service(require_key=True)
    asked = {
        Scope.READ: [("GET", "/v1/sessions"), ("POST", "/v1/search"), ("POST", "/v1/documents/search")],
        Scope.WRITE: [("POST", "/v1/sessions"), ("POST", "/v1/personas"), ("DELETE", "/v1/sessions/ses_1")],
        Scope.ADMIN: [("GET", "/v1/export"), ("POST", "/v1/import"), ("DELETE", "/v1/users/mina")],
        Scope.METRICS: [("GET", "/metrics")],
    }
    for held in Scope:
        with with_key(client, new_key(home, "--scope", held)) as mine:
            for needed, routes in asked.items():
                for method, path in routes:
                    answer = mine.request(method, path, json=None if method == "GET" else {})
                    assert (answer.status_code == 403) == (needed is not held), (held, path)
                    if answer.status_code == 403:
                        assert problem_of(answer) == "scope-lacking"
                        assert answer.json()["scope"] == needed


def test_the_openapi_document_says_which_routes_need_a_key(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "api_key"}
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            needed = needed_scope(method.upper(), path)
            assert route.get("security") == (
                None if needed is None else [{"bearer": [needed]}, {"api_key": [needed]}]
            )
            assert (needed is None) == (path in ("/healthz", "/readyz"))


def test_requests_past_a_keys_minute_are_429_and_say_when_to_come_again(
    client: httpx.Client, home: Path
) -> None:
    with with_key(client, new_key(home, "--requests-per-minute", "2")) as mine:
        first, second, third = (mine.get("/v1/sessions") for _ in range(3))
    assert (first.status_code, second.status_code, third.status_code) == (200, 200, 429)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert second.headers["x-ratelimit-remaining-requests"] == "0"
    assert re.fullmatch(r"\d+s", first.headers["x-ratelimit-reset-requests"])
    assert problem_of(third) == "rate-limit"
    assert 1 <= int(third.headers["retry-after"]) <= 30
    assert third.headers["x-ratelimit-remaining-requests"] == "0"
    assert "x-ratelimit-limit-requests" not in client.get("/v1/sessions").headers


def test_tokens_of_prompts_and_replies_count_and_a_refused_message_is_not_stored(
    client: httpx.Client, home: Path
) -> None:
    with with_key(client, new_key(home, "--tokens-per-minute", "30")) as mine:
        session_id = new_session(mine)
        said = say(mine, session_id)
        assert said.status_code == 200
        assert said.json()["usage"]["total_tokens"] > 30
        refused = say(mine, session_id)
        assert refused.status_code == 429
        assert problem_of(refused) == "rate-limit"
        assert refused.json()["limited"] == "tokens"
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["x-ratelimit-remaining-tokens"] == "0"
        assert len(mine.get(f"/v1/sessions/{session_id}/messages").json()["data"]) == 2


def test_no_more_replies_at_a_time_than_a_key_may_have_and_ended_ones_make_room(
    client: httpx.Client, home: Path
) -> None:
    with with_key(client, new_key(home, "--concurrent-generations", "1")) as mine:
        one, other = new_session(mine), new_session(mine)
        with open_stream(mine, one, content="Tell me a long story.", max_tokens=400) as events:
            assert next(events)[0] == "started"
            refused = say(mine, other)
            assert refused.status_code == 429
            assert problem_of(refused) == "concurrency-limit"
            assert refused.headers["retry-after"] == "1"
        # The client has gone: its reply ends, and makes room.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(_until_answered, mine, other).result(timeout=60)


def test_completions_are_on_the_keys_account_and_refused_in_their_own_form(
    client: httpx.Client, home: Path
) -> None:
    chat = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    limits = ("--tokens-per-minute", "30", "--concurrent-generations", "2")
    with with_key(client, new_key(home, *limits)) as mine:
        path = "/v1/chat/completions"
        assert mine.post(path, json={**chat, "n": 3}).json()["error"]["code"] == "concurrency_limit"
        answered = mine.post(path, json={**chat, "n": 2})
        assert answered.status_code == 200
        assert answered.json()["usage"]["total_tokens"] > 30
        refused = mine.post(path, json=chat)
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert int(refused.headers["retry-after"]) >= 1
    with with_key(client, new_secret()) as unknown:
        refused = unknown.post(path, json=chat)
        assert refused.status_code == 401
        assert refused.json()["error"]["type"] == "authentication_error"


def test_tokens_that_are_embedded_count_and_are_no_reply(client: httpx.Client, home: Path) -> None:
    limits = ("--tokens-per-minute", "100", "--concurrent-generations", "1")
    texts = {"model": EMBEDDING_MODEL, "input": ["whale " * 150] * 2}
    with with_key(client, new_key(home, *limits)) as mine:
        assert mine.post("/v1/embeddings", json={**texts, "input": "whale " * 1000}).status_code == 400
        embedded = mine.post("/v1/embeddings", json=texts)
        assert embedded.status_code == 200
        assert embedded.json()["usage"]["total_tokens"] > 300
        assert embedded.headers["x-ratelimit-remaining-tokens"] == "0"
        refused = mine.post("/v1/embeddings", json=texts)
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert int(refused.headers["retry-after"]) >= 1
        assert problem_of(say(mine, new_session(mine))) == "rate-limit"


def said(content: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def test_a_key_cannot_store_more_than_its_share_and_deleting_makes_room(
    client: httpx.Client, home: Path
) -> None:
    with with_key(client, new_key(home, "--tenant", "small")) as unlimited:
        session_id = new_session(unlimited)
        path = f"/v1/sessions/{session_id}/messages/append"
        [message] = unlimited.post(path, json=said("Much.")).json()["data"]
        until(lambda: unlimited.get("/v1/recall/status").json()["waiting"] == 0)  # else all that is indexed
    with closing(sqlite3.connect(home / "perdure.sqlite3")) as database, database:
        much = [(2**20 - 1000) * "m", message["id"]]
        database.execute("UPDATE messages SET content = ? WHERE id = ?", much)
    with with_key(client, new_key(home, "--stored-mb", "1", "--tenant", "small")) as mine:
        answers = [mine.post(path, json=said(400 * "m")) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [201] * 2 + [429] * 2
        assert problem_of(answers[-1]) == "storage-limit"
        assert answers[-1].json()["stored_bytes"] == 2**20 - 200
        assert "retry-after" not in answers[-1].headers
        assert mine.delete(f"/v1/sessions/{session_id}").is_success
        assert mine.post("/v1/sessions", json={}).status_code == 201


def test_new_keys_have_the_limits_of_the_settings_unless_they_are_made_with_others(
    client: httpx.Client, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_REQUESTS_PER_MINUTE", "7")
    for arguments, limit in (([], "7"), (["--requests-per-minute", "9"], "9")):
        with with_key(client, new_key(home, *arguments)) as mine:
            assert mine.get("/v1/sessions").headers["x-ratelimit-limit-requests"] == limit
    with with_key(client, new_key(home, "--requests-per-minute", "0")) as mine:
        assert "x-ratelimit-limit-requests" not in mine.get("/v1/sessions").headers


@given(
    per_minute=st.integers(1, 30),
    steps=st.lists(st.floats(0, 30), max_size=60),
)
def test_no_more_than_twice_a_minutes_worth_passes_in_any_minute(per_minute: int, steps: list[float]) -> None:
    now = 0.0
    limits = KeyLimits(requests_per_minute=per_minute)
    requests = Bucket(per_minute, lambda: now)
    allowance = Allowance("key", limits, OwnClaims(), set(), requests=requests, tokens=None)
    passed: list[float] = []

    async def ask() -> None:
        nonlocal now
        for step in steps:
            now += step
            for _ in range(per_minute):
                try:
                    await allowance.take_request()
                except RateLimitProblem as problem:
                    assert int(problem.headers["Retry-After"]) >= 1
                    break
                passed.append(now)

    asyncio.run(ask())
    for begin in passed:
        assert sum(begin <= at <= begin + 60 for at in passed) <= 2 * per_minute


@given(per_minute=st.integers(1, 10_000), charged=st.integers(0, 50_000))
def test_after_the_time_that_is_said_there_is_room_again(per_minute: int, charged: int) -> None:
    now = 0.0
    bucket = Bucket(per_minute, lambda: now)
    asyncio.run(bucket.charge(charged))
    now += bucket.wait_s + 1e-6
    assert bucket.wait_s == pytest.approx(0, abs=1e-6)
    assert 0 <= bucket.remaining <= per_minute


def test_web_pages_are_kept_out_but_for_those_of_the_settings(start_service: StartService) -> None:
    page = {"Origin": "https://chat.example.org", "Access-Control-Request-Method": "POST"}
    closed = start_service()
    assert "access-control-allow-origin" not in closed.get("/v1/sessions", headers=page).headers
    assert closed.options("/v1/sessions", headers=page).status_code == 405


def test_a_page_that_is_named_may_ask_even_where_a_key_is_needed_and_others_may_not(
    start_service: StartService,
) -> None:
    page = {"Origin": "https://chat.example.org", "Access-Control-Request-Method": "POST"}
    client = start_service(cors_origins=["https://chat.example.org"], require_key=True)
    assert client.options("/v1/sessions", headers=page).status_code == 200
    refused = client.get("/v1/sessions", headers=page)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://chat.example.org"
    other = client.get("/v1/sessions", headers=page | {"Origin": "https://evil.example.org"})
    assert "access-control-allow-origin" not in other.headers


def test_no_log_has_a_key_not_even_that_of_a_fault_of_ours(
    client: httpx.Client, home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key(home)
    handlers, level = logging.root.handlers[:], logging.root.level

    async def fail(*_arguments: Any, **_more: Any) -> None:
        raise RuntimeError("nothing works")

    try:
        for log_format in ("json", "console"):
            configure_logs(Settings(log_format=log_format, log_level="debug"))
            with with_key(client, key) as mine:
                assert mine.get("/v1/models").status_code == 200
                assert client.get("/v1/models", headers={"X-Api-Key": key}).status_code == 200
                with monkeypatch.context() as faulty:
                    faulty.setattr("app.storage.sessions.Sessions.list", fail)
                    assert mine.get("/v1/sessions").status_code == 500
            logged = "".join(capfd.readouterr())
            assert "Traceback" in logged
            assert "/v1/models" in logged
            assert key[12:] not in logged
    finally:
        structlog.reset_defaults()
        logging.basicConfig(level=level, handlers=handlers, force=True)


def test_the_service_does_not_listen_to_others_without_a_key_and_says_how_to_make_one() -> None:
    refused = perdure("serve", "--port", "0", PERDURE_HOST="0.0.0.0")
    assert refused.returncode == 1
    assert "perdure keys create" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.5", False),
        ("localhost.example.org", False),
    ],
)
def test_only_loopback_is_this_machine_alone(host: str, is_ours: bool) -> None:
    assert is_loopback(host) is is_ours


def test_commands_give_the_key_of_the_environment(start_service: StartService, home: Path) -> None:
    client = start_service(require_key=True)
    url = str(client.base_url)
    refused = perdure("documents", "list", "--url", url)
    assert refused.returncode == 1
    assert "API key" in refused.stderr
    assert perdure("documents", "list", "--url", url, PERDURE_API_KEY=new_key(home)).returncode == 0


def _until_answered(client: httpx.Client, session_id: str) -> None:
    while say(client, session_id).status_code == 429:
        pass


def _expire(home: Path, secret: str) -> None:
    with closing(sqlite3.connect(home / "perdure.sqlite3")) as database, database:
        changed = database.execute(
            "UPDATE api_keys SET expires_at = '2020-01-01 00:00:00' WHERE prefix = ?", (secret[:12],)
        )
        assert changed.rowcount == 1
