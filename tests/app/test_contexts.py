"""Contexts over HTTP: what would be in the window, and what was."""

import httpx
import pytest

from memory.strategies import STRATEGIES
from tests.app.service import StartService

pytestmark = pytest.mark.stand_in

PERSONA = {
    "name": "Anne",
    "instructions": "You are Anne, a pirate captain.",
    "examples": [{"user": "Who are you?", "assistant": "Captain Anne!"}],
}


@pytest.fixture
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


def test_the_preview_is_what_the_reply_then_gets(client: httpx.Client) -> None:
    persona = client.post("/v1/personas", json=PERSONA).json()
    session = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()
    path = f"/v1/sessions/{session['id']}"
    client.post(f"{path}/messages", json={"content": "Ahoy!", "max_tokens": 6})
    preview = client.get(f"{path}/context", params={"content": "Where to?", "max_tokens": 6}).json()
    answer = client.post(f"{path}/messages", json={"content": "Where to?", "max_tokens": 6}).json()
    record = client.get(f"/v1/messages/{answer['message']['id']}/context").json()

    assert preview["message_id"] is None
    assert record["message_id"] == answer["message"]["id"]
    assert record["prompt_tokens"] == preview["prompt_tokens"] == answer["usage"]["prompt_tokens"]
    cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert record["cached_tokens"] == preview["cached_tokens"] == cached > 0
    assert [segment["kind"] for segment in record["segments"]] == [
        "persona",
        "examples",
        "turn",
        "message",
        "generation_prompt",
    ]
    for before, after in zip(preview["segments"], record["segments"], strict=True):
        for field in ("kind", "tokens", "cached_tokens", "reason", "turn"):
            assert before[field] == after[field]
        assert [m["content"] for m in before["messages"]] == [m["content"] for m in after["messages"]]
    assert sum(segment["tokens"] for segment in record["segments"]) == record["prompt_tokens"]
    assert sum(segment["cached_tokens"] for segment in record["segments"]) == cached
    assert record["persona"] == {"id": persona["id"], "revision": 1}
    assert record["turns"] == [0]


def test_a_preview_stores_nothing(client: httpx.Client, session_id: str) -> None:
    client.get(f"/v1/sessions/{session_id}/context", params={"content": "Hello?"})
    assert client.get(f"/v1/sessions/{session_id}/messages").json()["data"] == []


def test_a_record_shows_the_persona_as_it_was_then(client: httpx.Client) -> None:
    persona = client.post("/v1/personas", json=PERSONA).json()
    session = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()
    path = f"/v1/sessions/{session['id']}/messages"
    first = client.post(path, json={"content": "Hi", "max_tokens": 2}).json()["message"]
    client.patch(f"/v1/personas/{persona['id']}", json={"instructions": "You are a nun."})
    second = client.post(path, json={"content": "Hi", "max_tokens": 2}).json()["message"]
    said = [
        client.get(f"/v1/messages/{message['id']}/context").json()["segments"][0]["messages"][0]["content"]
        for message in (first, second)
    ]
    assert said == [PERSONA["instructions"], "You are a nun."]


def test_what_is_left_out_is_named(start_service: StartService) -> None:
    client = start_service()
    memory = {"strategy": "sliding_window", "turns": 2, "retention_ratio": 1.0}
    session_id = client.post("/v1/sessions", json={"memory": memory}).json()["id"]
    turns = [{"role": role, "content": f"{role} {n}"} for n in range(6) for role in ("user", "assistant")]
    client.post(f"/v1/sessions/{session_id}/messages/append", json={"messages": turns})
    context = client.get(f"/v1/sessions/{session_id}/context").json()
    assert context["turns"] == [4, 5]
    [left_out] = context["left_out"]
    assert (left_out["first_turn"], left_out["last_turn"]) == (0, 3)
    assert left_out["tokens"] > 0
    assert "2 turns" in left_out["reason"]


def test_memory_serves_a_model_of_ones_own(client: httpx.Client) -> None:
    """Append both sides of each turn, and read the window as messages to send elsewhere."""
    persona = client.post("/v1/personas", json=PERSONA).json()
    session = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()
    path = f"/v1/sessions/{session['id']}"
    appended = client.post(
        f"{path}/messages/append",
        json={
            "messages": [
                {"role": "user", "content": "Ahoy", "created_at": "2024-05-01T10:00:00+02:00"},
                {"role": "assistant", "content": "Ahoy to you!"},
            ]
        },
    )
    assert appended.status_code == 201
    assert appended.json()["data"][0]["created_at"] == "2024-05-01T08:00:00Z"
    context = client.get(f"{path}/context", params={"content": "Where to?"}).json()
    messages = [
        (message["role"], message["content"])
        for segment in context["segments"]
        for message in segment["messages"]
    ]
    assert messages == [
        ("system", "You are Anne, a pirate captain."),
        ("user", "Who are you?"),
        ("assistant", "Captain Anne!"),
        ("user", "Ahoy"),
        ("assistant", "Ahoy to you!"),
        ("user", "Where to?"),
    ]


def test_a_user_message_has_no_context_record(client: httpx.Client, session_id: str) -> None:
    answer = client.post(
        f"/v1/sessions/{session_id}/messages", json={"content": "Hi", "max_tokens": 2}
    ).json()
    missing = client.get(f"/v1/messages/{answer['user_message']['id']}/context")
    assert missing.status_code == 404


def test_strategies_models_and_routes_are_listed(client: httpx.Client) -> None:
    strategies = {s["name"]: s for s in client.get("/v1/strategies").json()["data"]}
    assert list(strategies) == list(STRATEGIES)
    assert strategies["summary_buffer"]["aliases"] == ["ConversationSummaryBufferMemory"]
    assert strategies["sliding_window"]["parameters"]["properties"]["turns"]["default"] == 10
    assert all(strategy["description"] for strategy in strategies.values())
    model, _ = client.get("/v1/models").json()["data"]
    assert model["id"] == "smollm2-135m-instruct"
    assert model["context_window"] == 8192
    openapi = client.get("/openapi.json").json()
    posting = openapi["paths"]["/v1/sessions/{session_id}/messages"]["post"]["responses"]
    assert set(posting) == {"200", "default"}
    assert set(posting["200"]["content"]) == {"application/json", "text/event-stream"}
    assert set(posting["default"]["content"]) == {"application/problem+json"}
    ready = client.get("/readyz").json()
    assert {name: part["detail"] for name, part in ready["parts"].items() if part["detail"]} == {}
    assert ready["status"] == "ok"
    assert client.get("/healthz").json() == {"status": "ok"}
