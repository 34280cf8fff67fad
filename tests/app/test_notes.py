"""A note is told with one message: late, counted, kept in the record, and gone with the next."""

import httpx
import pytest

from tests.app.service import StartService


@pytest.fixture
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


def test_a_note_stands_before_its_message_and_in_no_later_context(client: httpx.Client) -> None:
    persona = client.post("/v1/personas", json={"name": "Anne", "instructions": "You are Anne."}).json()
    session = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()
    path = f"/v1/sessions/{session['id']}"
    asked: dict[str, str | int] = {"content": "Hi", "note": "Be sad.", "max_tokens": 2}
    preview = client.get(f"{path}/context", params=asked).json()
    answer = client.post(f"{path}/messages", json=asked).json()
    record = client.get(f"/v1/messages/{answer['message']['id']}/context").json()
    said = [(s["kind"], [(m["role"], m["content"]) for m in s["messages"]]) for s in record["segments"]]
    assert said == [
        ("persona", [("system", "You are Anne.")]),
        ("note", [("system", "Be sad.")]),
        ("message", [("user", "Hi")]),
        ("generation_prompt", []),
    ]
    assert record["prompt_tokens"] == preview["prompt_tokens"] == answer["usage"]["prompt_tokens"]
    following = client.post(f"{path}/messages", json={"content": "And?", "max_tokens": 2}).json()
    after = client.get(f"/v1/messages/{following['message']['id']}/context").json()
    assert [segment["kind"] for segment in after["segments"]] == [
        "persona",
        "turn",
        "message",
        "generation_prompt",
    ]
    messages = client.get(f"{path}/messages").json()["data"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    assert client.get(f"/v1/messages/{answer['message']['id']}/context").json() == record


def test_a_note_counts_against_the_window(start_service: StartService) -> None:
    client = start_service(context_window=512, reply_tokens=64)
    session_id = client.post("/v1/sessions", json={}).json()["id"]
    path = f"/v1/sessions/{session_id}/messages"
    refused = client.post(path, json={"content": "Hi", "note": "word " * 500})
    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:perdure:problem:message-too-large"
    assert refused.json()["message_tokens"] > 500
    assert client.get(path).json()["data"] == []
