"""Lorebooks of personas' cards and of chats, over HTTP."""

import json
from typing import Any

import httpx
import pytest

from tests.app.cards_data import V2
from tests.app.service import StartService

pytestmark = pytest.mark.stand_in


@pytest.fixture
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


def entries_path(session_id: str) -> str:
    return f"/v1/sessions/{session_id}/lorebook/entries"


def lore_of(context: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (segment["messages"][0]["content"], segment["reason"].partition(": ")[2])
        for segment in context["segments"]
        if segment["kind"] == "lore"
    ]


def ask(client: httpx.Client, session_id: str, content: str) -> dict[str, Any]:
    """Say something; the context of the reply."""
    body = {"content": content, "max_tokens": 2}
    reply = client.post(f"/v1/sessions/{session_id}/messages", json=body).json()["message"]
    context: dict[str, Any] = client.get(f"/v1/messages/{reply['id']}/context").json()
    return context


def test_an_entry_enters_while_its_key_is_in_the_turns_searched(
    client: httpx.Client, session_id: str
) -> None:
    book = client.patch(f"/v1/sessions/{session_id}/lorebook", json={"scan_depth": 1}).json()
    assert (book["scan_depth"], book["token_budget"], book["entries"]) == (1, 512, [])
    body = {"keys": ["glade"], "content": "It is safe."}
    assert client.post(entries_path(session_id), json=body).status_code == 201
    contexts = [ask(client, session_id, text) for text in ("Hi", "The Glade?", "And?", "So?")]
    assert [lore_of(context) for context in contexts] == [
        [],
        [("It is safe.", "'glade' is in the new message")],
        [("It is safe.", "'glade' is in turn 1")],
        [],
    ]
    kinds = [segment["kind"] for segment in contexts[1]["segments"]]
    assert kinds[-3:] == ["lore", "message", "generation_prompt"]


def test_the_book_of_a_card_speaks_with_names_put_in(client: httpx.Client) -> None:
    book = {"entries": [{"keys": ["{{user}}"], "content": "{{user}} is welcome.", "enabled": True}]}
    card = V2 | {"data": V2["data"] | {"character_book": book}}
    persona = client.post("/v1/personas/import", content=json.dumps(card).encode()).json()
    body = {"persona_id": persona["id"], "user_name": "Tom"}
    session_id = client.post("/v1/sessions", json=body).json()["id"]
    path = f"/v1/sessions/{session_id}/context"
    called = client.get(path, params={"content": "I am tom."}).json()
    assert lore_of(called) == [("Tom is welcome.", "'Tom' is in the new message")]


def test_a_stored_message_becomes_an_entry(client: httpx.Client, session_id: str) -> None:
    said = ask(client, session_id, "My boat is called Whale.")
    user_message = next(s for s in said["segments"] if s["kind"] == "message")["message_ids"][0]
    body = {"message_id": user_message, "keys": ["boat"]}
    entry = client.post(entries_path(session_id), json=body).json()
    assert (entry["content"], entry["message_id"]) == ("My boat is called Whale.", user_message)
    context = client.get(f"/v1/sessions/{session_id}/context", params={"content": "A boat!"}).json()
    assert lore_of(context)[0][0] == "My boat is called Whale."
    other = client.post("/v1/sessions", json={}).json()["id"]
    for session, message in ((other, user_message), (session_id, "msg_none")):
        refused = client.post(entries_path(session), json={"message_id": message})
        assert refused.status_code == 422
        assert [error["field"] for error in refused.json()["errors"]] == ["message_id"]


def test_entries_are_changed_and_deleted_and_records_keep_what_was_told(
    client: httpx.Client, session_id: str
) -> None:
    body = {"content": "First.", "constant": True, "insertion_order": 2}
    first = client.post(entries_path(session_id), json=body).json()
    second = client.post(entries_path(session_id), json=body | {"content": "Second."}).json()
    record = ask(client, session_id, "Hi")
    assert [text for text, _ in lore_of(record)] == ["First.", "Second."]
    path = f"{entries_path(session_id)}/{second['id']}"
    changed = client.patch(path, json={"insertion_order": 1, "content": "Now first."}).json()
    assert changed == second | {"insertion_order": 1, "content": "Now first."}
    now = client.get(f"/v1/sessions/{session_id}/context").json()
    assert [text for text, _ in lore_of(now)] == ["Now first.", "First."]
    client.patch(path, json={"enabled": False})
    assert client.delete(f"{entries_path(session_id)}/{first['id']}").status_code == 204
    assert lore_of(client.get(f"/v1/sessions/{session_id}/context").json()) == []
    [left] = client.get(f"/v1/sessions/{session_id}/lorebook").json()["entries"]
    assert left["id"] == second["id"]
    assert client.get(f"/v1/messages/{record['message_id']}/context").json() == record
    assert client.delete(f"/v1/sessions/{session_id}").status_code == 202


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"keys": ["a"]}, "body"),
        ({"content": "x", "message_id": "msg_1"}, "body"),
        ({"content": " "}, "content"),
        ({"content": "x", "keys": "a"}, "keys"),
        ({"content": "x", "keys": [""]}, "keys.0"),
        ({"content": "x", "keys": ["a"] * 101}, "keys"),
        ({"content": "x", "insertion_order": 10**9}, "insertion_order"),
        ({"content": "x", "enabled": "yes"}, "enabled"),
    ],
)
def test_a_bad_entry_is_refused_by_its_field(
    client: httpx.Client, session_id: str, body: dict[str, Any], field: str
) -> None:
    refused = client.post(entries_path(session_id), json=body)
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert client.get(f"/v1/sessions/{session_id}/lorebook").json()["entries"] == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/sessions/ses_none/lorebook", None),
        ("PATCH", "/v1/sessions/ses_none/lorebook", {}),
        ("POST", "/v1/sessions/ses_none/lorebook/entries", {"content": "x"}),
        ("PATCH", "/v1/sessions/{id}/lorebook/entries/lor_none", {}),
        ("DELETE", "/v1/sessions/{id}/lorebook/entries/lor_none", None),
    ],
)
def test_what_is_not_there_is_404(
    client: httpx.Client, session_id: str, method: str, path: str, body: dict[str, Any] | None
) -> None:
    assert client.request(method, path.format(id=session_id), json=body).status_code == 404


@pytest.mark.parametrize(
    ("book", "field"),
    [
        ([], "data.character_book"),
        ({"entries": {}}, "data.character_book.entries"),
        ({"entries": [{"keys": "a"}]}, "data.character_book.entries.0.keys"),
        ({"entries": [{"content": 1}]}, "data.character_book.entries.0.content"),
        ({"entries": [{"insertion_order": "1"}]}, "data.character_book.entries.0.insertion_order"),
        ({"entries": [], "token_budget": -1}, "data.character_book.token_budget"),
        ({"entries": [{}] * 2001}, "data.character_book.entries"),
    ],
)
def test_a_card_with_a_broken_book_is_refused_by_its_field(
    start_service: StartService, book: Any, field: str
) -> None:
    client = start_service()
    card = V2 | {"data": V2["data"] | {"character_book": book}}
    refused = client.post("/v1/personas/import", content=json.dumps(card).encode())
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert client.get("/v1/personas").json()["data"] == []
