"""A chat that is given another persona: what was said stays, and contexts tell since when."""

from typing import Any

import httpx
import pytest


@pytest.fixture
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


@pytest.fixture
def personas(client: httpx.Client) -> list[str]:
    bodies = (
        {"name": name, "instructions": f"You are {name}.", "greeting": "Hi!"} for name in ("Anne", "Bo")
    )
    return [str(client.post("/v1/personas", json=body).json()["id"]) for body in bodies]


def say(client: httpx.Client, session_id: str) -> dict[str, Any]:
    """Say something; the context of the reply."""
    body = {"content": "Hello", "max_tokens": 2}
    reply = client.post(f"/v1/sessions/{session_id}/messages", json=body).json()["message"]
    context: dict[str, Any] = client.get(f"/v1/messages/{reply['id']}/context").json()
    return context


def since(context: dict[str, Any]) -> tuple[str | None, int | None]:
    return context["persona"] and context["persona"]["id"], context["persona_since_turn"]


def test_each_reply_tells_since_which_turn_its_persona_speaks(
    client: httpx.Client, personas: list[str]
) -> None:
    anne, bo = personas
    session_id = client.post("/v1/sessions", json={"persona_id": anne}).json()["id"]
    path = f"/v1/sessions/{session_id}"
    contexts = [say(client, session_id)]
    assert client.patch(path, json={"persona_id": bo}).status_code == 200
    contexts += [say(client, session_id), say(client, session_id)]
    client.patch(path, json={"persona_id": None})
    contexts.append(say(client, session_id))
    client.patch(path, json={"persona_id": anne})
    contexts.append(say(client, session_id))

    expected = [(anne, 0), (bo, 2), (bo, 2), (None, None), (anne, 5)]
    assert [since(context) for context in contexts] == expected
    again = [client.get(f"/v1/messages/{context['message_id']}/context").json() for context in contexts]
    assert again == contexts
    assert contexts[-1]["turns"] == [0, 1, 2, 3, 4], "the history stays"
    assert len(client.get(f"{path}/messages").json()["data"]) == 11


def test_a_change_taken_back_before_anything_was_said_is_none(
    client: httpx.Client, personas: list[str]
) -> None:
    anne, bo = personas
    session_id = client.post("/v1/sessions", json={"persona_id": anne}).json()["id"]
    say(client, session_id)
    for persona_id in (bo, anne, anne):
        client.patch(f"/v1/sessions/{session_id}", json={"persona_id": persona_id})
    assert since(client.get(f"/v1/sessions/{session_id}/context").json()) == (anne, 0)


def test_a_persona_that_a_chat_had_once_can_be_deleted(client: httpx.Client, personas: list[str]) -> None:
    anne, bo = personas
    session_id = client.post("/v1/sessions", json={"persona_id": anne}).json()["id"]
    client.patch(f"/v1/sessions/{session_id}", json={"persona_id": bo})
    assert client.delete(f"/v1/personas/{anne}").status_code == 204
    assert since(say(client, session_id)) == (bo, 1)
    assert client.delete(f"/v1/sessions/{session_id}").status_code == 202
