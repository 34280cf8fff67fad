"""Chat sessions over HTTP: their settings, their listing, their end."""

from typing import Any

import httpx
import pytest

from tests.app.service import StartService


def test_a_session_starts_with_the_default_memory_spelled_out(client: httpx.Client) -> None:
    session = client.post("/v1/sessions", json={}).json()
    assert session["memory"] == {"strategy": "token_buffer", "token_budget": 1000, "retention_ratio": 0.7}


def test_the_default_memory_is_a_setting(start_service: StartService) -> None:
    client = start_service(memory={"strategy": "sliding_window", "turns": 3})
    memory = client.post("/v1/sessions", json={}).json()["memory"]
    assert memory == {"strategy": "sliding_window", "turns": 3, "retention_ratio": 0.7}


def test_a_session_keeps_what_it_was_given(client: httpx.Client) -> None:
    given = {"user_id": "ann", "title": "First", "memory": {"strategy": "buffer"}}
    session = client.post("/v1/sessions", json=given).json()
    assert {field: session[field] for field in given} == given
    assert client.get(f"/v1/sessions/{session['id']}").json() == session


def test_a_greeting_becomes_the_first_message(client: httpx.Client) -> None:
    persona = client.post("/v1/personas", json={"name": "Anne", "greeting": "Ahoy!"}).json()
    session = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()
    messages = client.get(f"/v1/sessions/{session['id']}/messages").json()["data"]
    assert [(m["role"], m["content"], m["turn"]) for m in messages] == [("assistant", "Ahoy!", 0)]


def test_sessions_are_listed_newest_first_and_by_user(client: httpx.Client) -> None:
    made = [client.post("/v1/sessions", json={"user_id": f"u{n % 2}"}).json()["id"] for n in range(5)]
    first = client.get("/v1/sessions", params={"limit": 3}).json()
    rest = client.get("/v1/sessions", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [session["id"] for session in first["data"] + rest["data"]] == made[::-1]
    assert rest["next_cursor"] is None
    of_one = client.get("/v1/sessions", params={"user_id": "u1"}).json()["data"]
    assert [session["id"] for session in of_one] == [made[3], made[1]]


def window(client: httpx.Client, path: str) -> dict[str, Any]:
    """The context for a message, but for what of it is cached by now: that grows in idle time."""
    context: dict[str, Any] = client.get(f"{path}/context", params={"content": "And now?"}).json()
    for counted in (context, *context["segments"]):
        del counted["cached_tokens"]
    return context


def test_switching_memory_and_back_loses_nothing(client: httpx.Client, session_id: str) -> None:
    turns = [{"role": role, "content": f"{role} {n}"} for n in range(30) for role in ("user", "assistant")]
    client.post(f"/v1/sessions/{session_id}/messages/append", json={"messages": turns})
    path = f"/v1/sessions/{session_id}"
    before = window(client, path)
    seen = {}
    for memory in (
        {"strategy": "buffer"},
        {"strategy": "sliding_window", "turns": 4, "retention_ratio": 1.0},
    ):
        assert client.patch(path, json={"memory": memory}).status_code == 200
        seen[memory["strategy"]] = window(client, path)["turns"]
    assert seen == {"buffer": list(range(30)), "sliding_window": [26, 27, 28, 29]}
    client.patch(path, json={"memory": before["strategy"]})
    assert window(client, path) == before
    listed = client.get(f"{path}/messages", params={"limit": 200}).json()["data"]
    assert [message["content"] for message in listed] == [turn["content"] for turn in turns]


def test_a_title_and_a_persona_can_be_set_and_taken_away(client: httpx.Client, session_id: str) -> None:
    persona = client.post("/v1/personas", json={"name": "Anne"}).json()
    path = f"/v1/sessions/{session_id}"
    session = client.patch(path, json={"title": "T", "persona_id": persona["id"]}).json()
    assert (session["title"], session["persona_id"]) == ("T", persona["id"])
    session = client.patch(path, json={"title": None, "persona_id": None}).json()
    assert (session["title"], session["persona_id"]) == (None, None)


def test_a_deleted_session_is_gone_with_its_messages(client: httpx.Client, session_id: str) -> None:
    said = client.post(
        f"/v1/sessions/{session_id}/messages/append", json={"messages": [{"role": "user", "content": "hi"}]}
    ).json()["data"][0]
    assert client.delete(f"/v1/sessions/{session_id}").status_code == 202
    for path in (
        f"/v1/sessions/{session_id}",
        f"/v1/sessions/{session_id}/messages",
        f"/v1/sessions/{session_id}/context",
        f"/v1/messages/{said['id']}",
    ):
        assert client.get(path).status_code == 404, path
    again = client.delete(f"/v1/sessions/{session_id}")
    assert (again.status_code, again.json()["kind"]) in ((202, "session"), (200, "session"))


@pytest.mark.parametrize(
    ("memory", "field"),
    [
        ({"strategy": "no_such"}, "memory.strategy"),
        ({}, "memory.strategy"),
        ({"strategy": ["buffer"]}, "memory.strategy"),
        ({"strategy": "buffer", "turns": 3}, "memory.turns"),
        ({"strategy": "sliding_window", "turns": "ten"}, "memory.turns"),
        ({"strategy": "sliding_window", "turns": 0}, "memory.turns"),
        ({"strategy": "sliding_window", "turns": True}, "memory.turns"),
        ({"strategy": "token_buffer", "token_budget": 10**40}, "memory.token_budget"),
        ({"strategy": "token_buffer", "retention_ratio": 1.5}, "memory.retention_ratio"),
    ],
)
def test_a_bad_memory_is_refused_and_names_the_field(
    client: httpx.Client, session_id: str, memory: dict[str, object], field: str
) -> None:
    before = client.get(f"/v1/sessions/{session_id}").json()
    for refused in (
        client.post("/v1/sessions", json={"memory": memory}),
        client.patch(f"/v1/sessions/{session_id}", json={"memory": memory}),
    ):
        assert refused.status_code == 422
        assert refused.headers["content-type"] == "application/problem+json"
        assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert client.get(f"/v1/sessions/{session_id}").json() == before
    assert len(client.get("/v1/sessions").json()["data"]) == 1
