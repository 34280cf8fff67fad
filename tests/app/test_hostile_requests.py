"""Requests that no client means: broken, enormous, in odd encodings; each is answered, with a clear 4xx."""

import json
import socket
from base64 import urlsafe_b64encode
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.openai.errors import is_standard
from app.web_server import MAX_UNFINISHED_BYTES
from tests.app.test_bad_input import assert_problem
from tests.app.test_openai_errors import error_of

JSON = {"content-type": "application/json"}
NATIVE = [
    "/v1/personas",
    "/v1/sessions",
    "/v1/search",
    "/v1/documents/search",
    "/v1/personas/import",
    "/v1/import",
]
STANDARD = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
DEEP = 100_000
BODIES = {
    "empty": b"",
    "cut off": b'{"name": "A", "mes',
    "open lists": b"[" * DEEP,
    "open objects": b'{"a":' * DEEP,
    "closed lists": b'{"name": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "nested in a field": b'{"metadata": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
    "huge list": b"[" + b"0," * 500_000 + b"0]",
    "infinite": b'{"temperature": 1e999}',
    "NaN": b'{"temperature": NaN}',
    "400 digits": b'{"seed": 1' + b"0" * 400 + b"}",
    "5,000 digits": b'{"seed": 1' + b"0" * 5000 + b"}",
    "surrogate": b'{"name": "\\ud800"}',
    "surrogate as a name": b'{"\\udfff": 1}',
    "surrogate in UTF-8": b'{"name": "\xed\xa0\x80"}',
    "NUL": b'{"name": "a\\u0000b"}',
    "NUL byte": b'{"name": "a\x00b"}',
    "overlong": b'{"name": "\xc0\xae"}',
    "UTF-16 cut off": '{"name": "A"}'.encode("utf-16")[:-1],
    "Latin-1": '{"name": "ü"}'.encode("latin-1"),
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00C\xbf\xa6\xa3\x02\x00\x00\x00",
    "two values": b"{}{}",
    "a string": b'"{}"',
    "null": b"null",
    "comment": b'{"name": "A" /* b */}',
    "single quotes": b"{'name': 'A'}",
    "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
}


@pytest.fixture(scope="module")
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


def assert_refused(path: str, answer: httpx.Response) -> None:
    assert 400 <= answer.status_code < 500, answer.text
    if is_standard(path):
        error_of(answer, answer.status_code)
    else:
        assert_problem(answer, answer.json()["type"].rpartition(":")[2])


@pytest.mark.parametrize("path", [*NATIVE, *STANDARD])
@pytest.mark.parametrize("kind", BODIES)
def test_a_body_that_cannot_be_meant_is_refused(client: httpx.Client, path: str, kind: str) -> None:
    if kind == "gzip":
        answer = client.post(path, content=BODIES[kind], headers={**JSON, "content-encoding": "gzip"})
    else:
        answer = client.post(path, content=BODIES[kind], headers=JSON)
    assert_refused(path, answer)


@pytest.mark.parametrize("path", ["/v1/personas", *STANDARD])
@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
        "\xff/\xfe",
    ],
)
def test_a_body_of_another_type_is_refused(client: httpx.Client, path: str, content_type: str) -> None:
    answer = client.post(
        path, content=b'{"name": "A"}', headers=[(b"content-type", content_type.encode("latin-1"))]
    )
    assert_refused(path, answer)


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([10**400, -(10**30), 2**63, -1, 0]),
        st.floats(allow_nan=False),
        st.text(max_size=20),
        st.sampled_from(
            ["\u202e\u200b\ufeff", "e" + "\u0301" * 500, "\U000e0001", "\ud83d", "\0", "a\r\nb", "{{user}}"]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = ["name", "instructions", "examples", "content", "messages", "model", "input", "prompt", "stop"]
FIELDS += ["seed", "temperature", "n", "metadata", "stream", "items", "query", "limit", "user_id", "memory"]
FIELDS += ["reminder", "role", "file", "data", "spec", "logit_bias", "tools", "conversation"]
bodies = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from([*NATIVE, *STANDARD]), body=bodies)
@example(path="/v1/personas", body={"name": "\u202e\u200b\ufeff", "instructions": "e" + "\u0301" * 5000})
def test_no_made_up_body_is_too_much(client: httpx.Client, path: str, body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    answer = client.post(path, content=raw, headers=JSON)
    if not answer.is_success:
        assert_refused(path, answer)


def test_of_two_fields_of_one_name_the_last_counts(client: httpx.Client) -> None:
    made = client.post("/v1/personas", content=b'{"name": "A", "name": "B"}', headers=JSON)
    assert made.json()["name"] == "B"


@pytest.mark.parametrize(
    "name", ["Idempotency-Key", "Last-Event-ID", "X-Request-Id", "X-Perdure-Session", "Authorization"]
)
@pytest.mark.parametrize("value", [b"\xff\xfe", "ü".encode(), b"a" * 20_000, b"\x7f", b'"', b"1e999", b"-1"])
def test_no_value_of_a_header_is_too_odd(client: httpx.Client, name: str, value: bytes) -> None:
    sent = [(name.encode(), value)]
    answers = [
        client.post("/v1/personas", json={"name": "A"}, headers=sent),
        client.post("/v1/conversations", json={}, headers=sent),
        client.get("/v1/messages/msg_none/events", headers=sent),
        client.get("/v1/models", headers=sent),
    ]
    assert all(answer.status_code < 500 for answer in answers)


@pytest.mark.parametrize("path", ["/v1/personas", "/v1/models"])
def test_headers_and_addresses_have_a_bound(client: httpx.Client, path: str) -> None:
    """Just below it they are taken: what the client itself sends is well under 1 KiB."""
    many = [(f"x-{number}", "a" * 1000) for number in range(66)]
    assert client.get(path, headers=many[:63]).status_code == 200
    assert client.get(path, params={"other": "a" * 16_000}).status_code == 200
    for headers in (many, [("x-one", "a" * 200_000)], [("cookie", "a=b;" * 20_000)]):
        refused = client.get(path, headers=headers)
        assert refused.status_code == 431
        assert_refused(path, refused)
        assert refused.headers["x-request-id"]
    refused = client.get(path, params={"other": "a" * 2**14})
    assert refused.status_code == 414
    assert_refused(path, refused)
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2;",
    ],
    ids=["address", "header", "trailer", "extension of a chunk"],
)
def test_what_has_no_end_is_not_read_for_ever(client: httpx.Client, begun: bytes) -> None:
    address = (client.base_url.host, client.base_url.port or 80)
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(begun)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            connection.sendall(b"a" * 2**25)
    assert client.get("/healthz").status_code == 200


def test_who_sends_a_header_without_an_end_is_told(client: httpx.Client) -> None:
    begun = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "
    with socket.create_connection(
        (client.base_url.host, client.base_url.port or 80), timeout=20
    ) as connection:
        connection.sendall(begun.ljust(MAX_UNFINISHED_BYTES + 1, b"a"))
        answer = connection.makefile("rb").read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert json.loads(body)["type"] == "urn:perdure:problem:headers-too-large"


CURSORS = [
    b'["2024-01-01T00:00:00+00:00", "\\ud800"]',
    b'["2024-01-01T00:00:00+00:00", "a\\u0000b"]',
    b'["0001-01-01T00:00:00+14:00", "a"]',
    b'["9999-12-31T23:59:59-14:00", "a"]',
    b'["2024-01-01T00:00:00+00:00", {}]',
    b'{"2024-01-01": 1, "b": 2}',
    b"[1e999]",
    b"[true]",
    b"[" * 300,
    b"\xff",
]


@pytest.mark.parametrize("cursor", CURSORS)
def test_no_cursor_is_too_odd(client: httpx.Client, cursor: bytes) -> None:
    session = client.post("/v1/sessions", json={}).json()["id"]
    for path in ("/v1/sessions", "/v1/personas", "/v1/documents", f"/v1/sessions/{session}/messages"):
        answer = client.get(path, params={"cursor": urlsafe_b64encode(cursor).decode()})
        assert answer.status_code == 422, (path, answer.text)
        assert [error["field"] for error in answer.json()["errors"]] == ["cursor"]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/sessions/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/sessions/%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/sessions/..%2f..%2fetc HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 400 + b"\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_what_is_no_proper_http_is_a_4xx_and_no_end_of_the_service(client: httpx.Client, sent: bytes) -> None:
    with socket.create_connection(
        (client.base_url.host, client.base_url.port or 80), timeout=20
    ) as connection:
        connection.sendall(sent)
        status = connection.makefile("rb").readline().split()[1:2]
    assert status
    assert 400 <= int(status[0]) < 500
    assert client.get("/healthz").status_code == 200


def test_a_body_that_ends_before_its_length_stores_nothing(client: httpx.Client) -> None:
    before = client.get("/v1/sessions?limit=200").json()["data"]
    address = (client.base_url.host, client.base_url.port or 80)
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(
            b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{}"
        )
    assert client.get("/v1/sessions?limit=200").json()["data"] == before
