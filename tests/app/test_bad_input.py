"""Bad input gets a problem document that names the field, and stores nothing."""

from typing import Any

import httpx
import pytest

from tests.app.service import StartService

MESSAGE_BODIES: list[tuple[dict[str, Any], str]] = [
    ({}, "content"),
    ({"content": ""}, "content"),
    ({"content": " \n\t "}, "content"),
    ({"content": "a\0b"}, "content"),
    ({"content": None}, "content"),
    ({"content": 3}, "content"),
    ({"content": ["hi"]}, "content"),
    ({"content": "x" * 300_000}, "content"),
    ({"content": "hi", "stream": "yes"}, "stream"),
    ({"content": "hi", "max_tokens": 0}, "max_tokens"),
    ({"content": "hi", "max_tokens": -5}, "max_tokens"),
    ({"content": "hi", "max_tokens": 2.5}, "max_tokens"),
    ({"content": "hi", "max_tokens": 10**30}, "max_tokens"),
    ({"content": "hi", "temperature": -1}, "temperature"),
    ({"content": "hi", "temperature": "hot"}, "temperature"),
    ({"content": "hi", "top_p": 0}, "top_p"),
    ({"content": "hi", "top_p": 1.1}, "top_p"),
    ({"content": "hi", "seed": -1}, "seed"),
    ({"content": "hi", "seed": 2**64}, "seed"),
    ({"content": "hi", "stop": "END"}, "stop"),
    ({"content": "hi", "stop": [""]}, "stop.0"),
    ({"content": "hi", "stop": ["x"] * 17}, "stop"),
    ({"content": "hi", "if_busy": "maybe"}, "if_busy"),
    ({"content": "hi", "unknown": 1}, "unknown"),
    ({"content": "hi", "note": " "}, "note"),
    ({"content": "hi", "note": ["sad"]}, "note"),
]


@pytest.fixture
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


@pytest.mark.parametrize(("body", "field"), MESSAGE_BODIES)
def test_a_bad_message_is_refused_by_its_field_and_not_stored(
    client: httpx.Client, session_id: str, body: dict[str, Any], field: str
) -> None:
    refused = client.post(f"/v1/sessions/{session_id}/messages", json=body)
    assert refused.status_code == 422
    assert_problem(refused, "invalid-request")
    assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert client.get(f"/v1/sessions/{session_id}/messages").json()["data"] == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"content": "hi"',
        b"\xff\xfe\x00",
        b'{"content": "\xe2\x82"}',
        b"[" * 100_000,
        b'{"content": ' + b"9" * 5000 + b"}",
        b'{"content": "hi", "temperature": NaN}',
        b'{"content": "hi", "temperature": 1e999}',
        b'{"content": "\\ud800"}',
        b'{"content": "hi", "\\ud800": 1}',
        b'{"content": "hi", "stop": ["\\udfff"]}',
        b'"content"',
        b"null",
    ],
)
def test_a_body_that_is_no_proper_json_is_refused_and_not_stored(
    client: httpx.Client, session_id: str, raw: bytes
) -> None:
    path = f"/v1/sessions/{session_id}/messages"
    refused = client.post(path, content=raw, headers={"content-type": "application/json"})
    assert 400 <= refused.status_code < 500, refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    assert client.get(path).json()["data"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "user"}]}, "messages.1.content"),
        ({"messages": [{"role": "user", "content": "a\0"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "hi", "created_at": "soon"}]}, "messages.0.created_at"),
        (
            {"messages": [{"role": "user", "content": "hi", "created_at": "2024-01-01T00:00:00"}]},
            "messages.0.created_at",
        ),
        (
            {"messages": [{"role": "user", "content": "hi", "created_at": "0001-01-01T00:00:00Z"}]},
            "messages.0.created_at",
        ),
        ({"messages": [{"role": "user", "content": "hi"}] * 1001}, "messages"),
    ],
)
def test_appended_messages_are_stored_all_or_none(
    client: httpx.Client, session_id: str, body: dict[str, Any], field: str
) -> None:
    refused = client.post(f"/v1/sessions/{session_id}/messages/append", json=body)
    assert refused.status_code == 422
    assert field in [error["field"] for error in refused.json()["errors"]]
    assert client.get(f"/v1/sessions/{session_id}/messages").json()["data"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"name": "A", "instructions": None}, "instructions"),
        ({"name": "A", "examples": [{"user": "hi"}]}, "examples.0.assistant"),
        ({"name": "A", "greeting": ""}, "greeting"),
        ({"name": "A", "greeting": "\ud800"}, "greeting"),
        ({"name": "A", "style": None}, "style"),
        ({"name": "A", "facts": "one"}, "facts"),
        ({"name": "A", "facts": ["one", " "]}, "facts.1"),
        ({"name": "A", "facts": ["x"] * 101}, "facts"),
        ({"name": "A", "facts": ["x" * 1025]}, "facts.0"),
        ({"name": "A", "speech_rules": [{"rule": "formal"}]}, "speech_rules.0.user_id"),
        ({"name": "A", "speech_rules": [{"user_id": None, "rule": "a"}] * 2}, "speech_rules"),
        ({"name": "A", "speech_rules": [{"user_id": "b", "rule": "a"}] * 2}, "speech_rules"),
        ({"name": "A", "forbidden_phrases": [""]}, "forbidden_phrases.0"),
        ({"name": "A", "forbidden_phrases": ["x"] * 17}, "forbidden_phrases"),
        ({"name": "A", "user_name": " "}, "user_name"),
        ({"name": "A", "reminder": "Stay."}, "reminder"),
        ({"name": "A", "reminder": {"text": " "}}, "reminder.text"),
        ({"name": "A", "reminder": {"text": "Stay.", "depth": -1}}, "reminder.depth"),
        ({"name": "A", "reminder": {"text": "Stay.", "depth": 101}}, "reminder.depth"),
    ],
)
def test_a_bad_persona_is_refused_by_its_field(
    client: httpx.Client, body: dict[str, Any], field: str
) -> None:
    import json

    refused = client.post(
        "/v1/personas", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert client.get("/v1/personas").json()["data"] == []


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/sessions?limit=0", "limit"),
        ("/v1/sessions?limit=1000", "limit"),
        ("/v1/sessions?limit=many", "limit"),
        ("/v1/sessions?limit=1&limit=2", "limit"),
        ("/v1/sessions?user_id=a&user_id=b", "user_id"),
        ("/v1/sessions?cursor=nonsense", "cursor"),
        ("/v1/sessions?cursor=W10=", "cursor"),
        ("/v1/personas?cursor=bnVsbA==", "cursor"),
        ("/v1/sessions/{id}/messages?cursor=WyJhIl0=", "cursor"),
        ("/v1/sessions/{id}/messages?cursor=Wy0xXQ==", "cursor"),
        ("/v1/sessions/{id}/messages?order=random", "order"),
        ("/v1/sessions/{id}/context?content=%00", "content"),
        ("/v1/sessions/{id}/context?content=", "content"),
        ("/v1/sessions/{id}/context?max_tokens=0", "max_tokens"),
        ("/v1/sessions/{id}/context?note=sad", "note"),
        ("/v1/sessions/{id}/context?content=hi&note=", "note"),
    ],
)
def test_bad_parameters_of_a_listing_are_refused_by_name(
    client: httpx.Client, session_id: str, path: str, field: str
) -> None:
    refused = client.get(path.format(id=session_id))
    assert refused.status_code == 422, refused.text
    assert [error["field"] for error in refused.json()["errors"]] == [field]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/sessions/ses_none"),
        ("PATCH", "/v1/sessions/ses_none"),
        ("DELETE", "/v1/sessions/ses_none"),
        ("GET", "/v1/sessions/ses_none/messages"),
        ("POST", "/v1/sessions/ses_none/messages"),
        ("POST", "/v1/sessions/ses_none/messages/append"),
        ("GET", "/v1/sessions/ses_none/context"),
        ("GET", "/v1/sessions/%00/messages"),
        ("GET", "/v1/messages/msg_none"),
        ("GET", "/v1/messages/msg_none/context"),
        ("GET", "/v1/personas/per_none"),
        ("PATCH", "/v1/personas/per_none"),
        ("DELETE", "/v1/personas/per_none"),
        ("GET", "/v1/nothing"),
    ],
)
def test_what_is_not_there_is_404(client: httpx.Client, method: str, path: str) -> None:
    bodies: dict[str, Any] = {
        "messages": {"content": "hi"},
        "append": {"messages": [{"role": "user", "content": "hi"}]},
    }
    answer = client.request(method, path, json=bodies.get(path.rsplit("/", 1)[-1], {}))
    assert answer.status_code == 404, answer.text
    assert_problem(answer, "not-found")


def test_a_session_cannot_have_a_persona_that_is_not_there(client: httpx.Client, session_id: str) -> None:
    for refused in (
        client.post("/v1/sessions", json={"persona_id": "per_none"}),
        client.patch(f"/v1/sessions/{session_id}", json={"persona_id": "per_none"}),
    ):
        assert refused.status_code == 422
        assert [error["field"] for error in refused.json()["errors"]] == ["persona_id"]


def test_a_method_that_a_route_does_not_take_is_405(client: httpx.Client) -> None:
    refused = client.put("/v1/sessions", json={})
    assert refused.status_code == 405
    assert_problem(refused, "method-not-allowed")
    assert refused.headers["allow"] == "GET, POST"


def test_a_body_over_the_limit_is_refused_announced_or_not(start_service: StartService) -> None:
    client = start_service(max_body_mb=1)
    session_id = client.post("/v1/sessions", json={}).json()["id"]
    path = f"/v1/sessions/{session_id}/messages"
    big = b'{"content": "' + b"x" * (2 * 2**20) + b'"}'
    announced = client.post(path, content=big, headers={"content-type": "application/json"})
    pieces = (big[start : start + 65536] for start in range(0, len(big), 65536))
    chunked = client.post(path, content=pieces, headers={"content-type": "application/json"})
    for refused in (announced, chunked):
        assert refused.status_code == 413
        assert_problem(refused, "body-too-large")
    assert client.get(path).json()["data"] == []


def test_a_message_too_large_for_the_window_is_refused_with_the_numbers(
    start_service: StartService,
) -> None:
    client = start_service(context_window=512, reply_tokens=64)
    session_id = client.post("/v1/sessions", json={}).json()["id"]
    path = f"/v1/sessions/{session_id}/messages"
    for body in ({"content": "word " * 600}, {"content": "hi", "max_tokens": 500}):
        refused = client.post(path, json=body)
        assert refused.status_code == 422
        assert_problem(refused, "message-too-large")
        problem = refused.json()
        total = problem["message_tokens"] + problem["persona_tokens"] + problem["reply_tokens"]
        assert total > problem["context_window"] == 512
    assert client.get(path).json()["data"] == []


def test_a_full_buffer_refuses_with_the_numbers_and_another_strategy_goes_on(
    start_service: StartService,
) -> None:
    client = start_service(context_window=512, reply_tokens=32)
    memory = {"strategy": "buffer"}
    session_id = client.post("/v1/sessions", json={"memory": memory}).json()["id"]
    path = f"/v1/sessions/{session_id}/messages"
    turn = [{"role": "user", "content": "word " * 100}, {"role": "assistant", "content": "Yes."}]
    client.post(f"{path}/append", json={"messages": turn * 5})
    refused = client.post(path, json={"content": "And now?"})
    assert refused.status_code == 422
    assert_problem(refused, "context-window-full")
    problem = refused.json()
    assert problem["history_tokens"] > problem["room"]
    assert problem["turns"] == 5
    assert len(client.get(path).json()["data"]) == 10
    client.patch(f"/v1/sessions/{session_id}", json={"memory": {"strategy": "token_buffer"}})
    assert client.post(path, json={"content": "And now?", "max_tokens": 4}).status_code == 200


def assert_problem(answer: httpx.Response, slug: str) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:perdure:problem:{slug}"
    assert problem["status"] == answer.status_code
    assert problem["title"]
    assert problem["detail"]
