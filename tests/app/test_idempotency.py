"""Requests that come again with their key are carried out once."""

import asyncio
import shutil
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import ServerSentEvent

from app.storage.database import Database
from app.storage.idempotency import (
    IdempotencyKeys,
    KeyTakenError,
    RequestKey,
    carried_out,
    purge_expired,
)
from app.storage.sessions import Sessions
from tests.app.keyed import Keys, ask_chat, events_of, heard, new_session, respond, say
from tests.app.processes import service_process
from tests.app.service import StartService
from tests.app.test_faults import LONG_TASK, messages

pytestmark = pytest.mark.stand_in


def requests_that_create(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """Of each route that creates something one request."""
    session_id = new_session(client)
    asked = client.post(**say(session_id)).json()
    path = f"/v1/sessions/{session_id}"
    exported = client.get(f"{path}/export").content
    card = {"spec": "chara_card_v2", "spec_version": "2.0", "data": {"name": "Anne", "description": "You."}}
    unanswered = new_session(client)
    append = {"messages": [{"role": "user", "content": "Who are you?"}]}
    client.post(f"/v1/sessions/{unanswered}/messages/append", json=append)
    other = client.post(**say(new_session(client))).json()["message"]
    short = {"max_tokens": 4}
    items = [{"role": "user", "content": "Hello?"}]
    response = client.post(**respond()).json()["id"]
    conversation = client.post("/v1/conversations", json={}).json()["id"]
    said_to = client.post("/v1/conversations", json={"items": items}).json()["id"]
    return {
        "session": {"url": "/v1/sessions", "json": {"title": "a chat"}},
        "message": say(session_id),
        "append": {"url": f"{path}/messages/append", "json": append},
        "reply": {"url": f"/v1/sessions/{unanswered}/reply", "json": short},
        "regenerate": {"url": f"/v1/messages/{other['id']}/regenerate", "json": short},
        "branch": {"url": f"{path}/branch", "json": {"message_id": asked["message"]["id"]}},
        "fact": {"url": f"{path}/facts", "json": {"subject": "user", "key": "name", "value": "Tom"}},
        "lore": {"url": f"{path}/lorebook/entries", "json": {"keys": ["sea"], "content": "It is deep."}},
        "persona": {"url": "/v1/personas", "json": {"name": "Anne", "instructions": "You are Anne."}},
        "card": {"url": "/v1/personas/import", "json": card},
        "document": {"url": "/v1/documents", "files": {"file": ("sea.txt", b"The sea is deep and blue.")}},
        "session import": {"url": "/v1/sessions/import", "content": exported},
        "import": {"url": "/v1/import", "content": exported},
        "chat completion": ask_chat(session_id),
        "response": respond(),
        "response behind another": respond(previous_response_id=response),
        "response in a branch": respond(previous_response_id=response, metadata={"in": "a branch"}),
        "response in a conversation": respond(conversation=conversation),
        "response to what was said": respond(conversation=said_to, input=None),
        "conversation": {"url": "/v1/conversations", "json": {"items": items, "metadata": {"a": "b"}}},
        "items": {"url": f"/v1/conversations/{conversation}/items", "json": {"items": items}},
    }


def counts(client: httpx.Client) -> list[int]:
    """How much there is of everything."""
    sessions = client.get("/v1/sessions", params={"limit": 200}).json()["data"]
    total = [len(sessions)]
    for path in ("/v1/personas", "/v1/documents"):
        total.append(len(client.get(path, params={"limit": 200}).json()["data"]))
    for each in sessions:
        path = f"/v1/sessions/{each['id']}"
        total.append(len(messages(client, each["id"])))
        total.append(len(client.get(f"{path}/facts").json()["data"]))
        total.append(len(client.get(f"{path}/lorebook").json()["entries"]))
    return total


def answered(answer: httpx.Response) -> Any:
    """The answer, but for when a completion or a response was made: that is told anew."""
    body = answer.json()
    told_anew = {"created_at", "completed_at"} if body.get("object") == "response" else {"created"}
    return {name: value for name, value in body.items() if name not in told_anew}


def test_whatever_is_created_with_a_key_is_created_once_and_answered_the_same_again(
    repeating_client: httpx.Client,
) -> None:
    requests = requests_that_create(repeating_client)
    keys = {name: Keys.new() for name in requests}
    first = {name: repeating_client.post(**request, headers=keys[name]) for name, request in requests.items()}
    there = counts(repeating_client)
    again = {name: repeating_client.post(**request, headers=keys[name]) for name, request in requests.items()}
    assert counts(repeating_client) == there
    for name in requests:
        assert first[name].is_success, (name, first[name].text)
        assert "Idempotent-Replayed" not in first[name].headers
        assert again[name].headers.get("Idempotent-Replayed") == "true", name
        assert again[name].status_code == first[name].status_code, name
        assert answered(again[name]) == answered(first[name]), name


def test_every_route_that_creates_says_that_it_takes_a_key(used_client: httpx.Client) -> None:
    paths = used_client.get("/openapi.json").json()["paths"]
    taking = {
        (path, method)
        for path, operations in paths.items()
        for method, operation in operations.items()
        if any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", []))
    }
    nothing_new = {
        "/v1/search",
        "/v1/documents/search",
        "/v1/recall/reindex",
        "/v1/sessions/{session_id}/forget",
        "/v1/messages/{message_id}/activate",
        "/v1/personas/{persona_id}/card",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/scores",
        "/v1/conversations/{conversation_id}",
        "/v1/responses/{response_id}/cancel",
    }
    creating = {(path, "post") for path, operations in paths.items() if "post" in operations}
    assert taking == {(path, method) for path, method in creating if path not in nothing_new}


def test_a_request_without_a_key_is_carried_out_each_time(used_client: httpx.Client) -> None:
    session_id = new_session(used_client)
    assert used_client.post(**say(session_id)).json() != used_client.post(**say(session_id)).json()
    assert len(messages(used_client, session_id)) == 4


def test_a_key_of_another_request_is_refused(repeating_client: httpx.Client) -> None:
    session_id, key = new_session(repeating_client), Keys.new()
    assert repeating_client.post(**say(session_id), headers=key).is_success
    path = f"/v1/sessions/{session_id}"
    others: list[dict[str, Any]] = [
        say(session_id, "Goodbye!"),
        say(session_id, stream=True),
        say(new_session(repeating_client)),
        {"url": f"{path}/messages", "params": {"a": "b"}, "json": say(session_id)["json"]},
        {"url": "/v1/sessions", "json": {}},
    ]
    for other in others:
        refused = repeating_client.post(**other, headers=key)
        assert refused.status_code == 422
        assert refused.json()["type"] == "urn:perdure:problem:idempotency-key-reused"
    standard = repeating_client.post(**ask_chat(session_id), headers=key)
    assert (standard.status_code, standard.json()["error"]["code"]) == (400, "idempotency_key_reused")
    assert len(messages(repeating_client, session_id)) == 2


def test_a_standard_request_to_another_session_is_another_request(repeating_client: httpx.Client) -> None:
    key, sessions = Keys.new(), [new_session(repeating_client) for _ in range(2)]
    request = ask_chat("", metadata=None)
    first, second = (
        repeating_client.post(**request, headers=key | {"X-Perdure-Session": session_id})
        for session_id in sessions
    )
    assert first.is_success
    assert second.json()["error"]["code"] == "idempotency_key_reused"
    assert not messages(repeating_client, sessions[1])


@pytest.mark.parametrize("key", ["", "two words", "a" * 256, '"', '""', '"open', "ümlaut"])
def test_a_key_that_is_none_is_refused(used_client: httpx.Client, key: str) -> None:
    answer = used_client.post("/v1/sessions", json={}, headers={b"Idempotency-Key": key.encode()})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


def test_two_keys_in_one_request_are_refused(used_client: httpx.Client) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert used_client.post("/v1/sessions", json={}, headers=headers).status_code == 422


def test_a_key_is_the_same_with_quotation_marks_and_without(used_client: httpx.Client) -> None:
    key = Keys.new()["Idempotency-Key"]
    bare, quoted = (
        used_client.post("/v1/sessions", json={}, headers={"Idempotency-Key": each}).json()
        for each in (key, f'"{key}"')
    )
    assert bare == quoted


def test_a_request_that_was_refused_may_be_tried_again_under_its_key(used_client: httpx.Client) -> None:
    session_id, key = new_session(used_client), Keys.new()
    busy = say(session_id, LONG_TASK, max_tokens=2000, stream=True)
    with events_of(used_client, "POST", busy["url"], {}, json=busy["json"]) as events:
        next(events)
        refused = used_client.post(**say(session_id), headers=key)
        assert refused.json()["type"] == "urn:perdure:problem:session-busy"
    waiting = say(session_id, if_busy="wait")
    assert used_client.post(**waiting, headers=Keys.new()).is_success
    tried = used_client.post(**say(session_id), headers=key)
    assert tried.is_success
    assert "Idempotent-Replayed" not in tried.headers


def test_of_two_at_once_one_speaks_and_both_get_its_reply(repeating_client: httpx.Client) -> None:
    session_id, key = new_session(repeating_client), Keys.new()
    request = say(session_id, max_tokens=40)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: repeating_client.post(**request, headers=key), range(4)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) <= 2  # as it was sent, and as it was made anew
    assert all(answer.json() == answers[0].json() for answer in answers)
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert len(messages(repeating_client, session_id)) == 2


def test_a_message_that_only_gives_instructions_gives_them_once(repeating_client: httpx.Client) -> None:
    session_id, key = new_session(repeating_client, prefixes=True), Keys.new()
    request = say(session_id, "ci: You are a pirate.")
    first = repeating_client.post(**request, headers=key).json()
    repeating_client.patch(f"/v1/sessions/{session_id}", json={"instructions": "You are a monk."})
    again = repeating_client.post(**request, headers=key).json()
    assert again["notice"] == first["notice"]
    assert repeating_client.get(f"/v1/sessions/{session_id}").json()["instructions"] == "You are a monk."


def test_what_was_deleted_is_neither_told_nor_said_again(repeating_client: httpx.Client) -> None:
    session_id, key = new_session(repeating_client), Keys.new()
    said = repeating_client.post(**say(session_id), headers=key).json()
    repeating_client.delete(f"/v1/messages/{said['user_message']['id']}")
    assert repeating_client.post(**say(session_id), headers=key).status_code == 404
    assert not messages(repeating_client, session_id)
    forgotten = Keys.new()
    said = repeating_client.post(**say(session_id), headers=forgotten).json()
    from_message = {"from_message_id": said["user_message"]["id"]}
    assert repeating_client.post(f"/v1/sessions/{session_id}/forget", json=from_message).is_success
    assert repeating_client.post(**say(session_id), headers=forgotten).status_code == 404


def test_a_chat_that_is_deleted_while_it_speaks_is_not_told_again(used_client: httpx.Client) -> None:
    session_id, key = new_session(used_client), Keys.new()
    request = say(session_id, LONG_TASK, max_tokens=2000, stream=True)
    with events_of(used_client, "POST", request["url"], key, json=request["json"]) as events:
        next(events)
        used_client.delete(f"/v1/sessions/{session_id}")
        assert [event.event for event in events][-1] in ("finished", "error")
    assert used_client.post(**request, headers=key).status_code == 404


def rows(home: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(home / "perdure.sqlite3")) as database, database:
        return database.execute(query).fetchall()


def test_keys_hold_nothing_that_was_said_and_go_with_their_user(
    start_service: StartService, tmp_path: Path
) -> None:
    client = start_service(home=tmp_path)
    session = {"user_id": "tom", "title": "kraken"}
    session_id = client.post("/v1/sessions", json=session, headers=Keys.new()).json()["id"]
    client.post(**say(session_id, "I fear the kraken."), headers=Keys.new())
    file = {"file": ("kraken.txt", b"The kraken is large.")}
    client.post("/v1/documents", files=file, data={"user_id": "tom"}, headers=Keys.new())
    client.post("/v1/import", content=client.get("/v1/users/tom/export").content, headers=Keys.new())
    kept = rows(tmp_path, "SELECT * FROM idempotency_keys")
    assert len(kept) == 4
    assert "kraken" not in str(kept)
    assert "key-" not in str(kept)
    receipt = client.delete("/v1/users/tom").json()
    assert receipt["stores"]["idempotency_keys"] == {"removed": 4, "remaining": 0}
    assert not rows(tmp_path, "SELECT * FROM idempotency_keys")


def test_an_expired_key_is_a_new_one_and_is_purged(start_service: StartService, tmp_path: Path) -> None:
    client = start_service(home=tmp_path, resume_s=0)
    key, other = Keys.new(), Keys.new()
    ids = [client.post("/v1/sessions", json={}, headers=each).json()["id"] for each in (key, key, other)]
    assert ids[0] == ids[1]
    rows(tmp_path, "UPDATE idempotency_keys SET created_at = datetime('now', '-25 hours')")
    assert client.post("/v1/sessions", json={}, headers=key).json()["id"] not in ids
    assert len(rows(tmp_path, "SELECT * FROM idempotency_keys")) == 2


def test_what_another_process_makes_under_a_key_meanwhile_is_not_made_twice(
    untouched_database: Path, tmp_path: Path
) -> None:
    path = tmp_path / "perdure.sqlite3"
    shutil.copy(untouched_database, path)

    async def make(database: Database, title: str) -> None:
        carried_out.set(RequestKey("digest", "fingerprint"))
        async with database.write() as session:
            sessions = Sessions(session, "local")
            row = await sessions.create(persona_id=None, user_id=None, title=title, memory={})
            await IdempotencyKeys(session, "local").keep("session", session_id=row.id)

    async def twice() -> None:
        database = Database(path)
        await asyncio.create_task(make(database, "first"))
        with pytest.raises(KeyTakenError):
            await asyncio.create_task(make(database, "second"))
        async with database.read() as session:
            left = await Sessions(session, "local").list(after=None, limit=9, user_id=None, persona_id=None)
            assert [row.title for row in left] == ["first"]
            assert await IdempotencyKeys(session, "local").find("digest") is not None
            assert await IdempotencyKeys(session, "other").find("digest") is None
        await database.close()

    asyncio.run(twice())
    rows(tmp_path, "UPDATE idempotency_keys SET created_at = datetime('now', '-23 hours')")
    asyncio.run(purge(path))
    assert len(rows(tmp_path, "SELECT * FROM idempotency_keys")) == 1
    rows(tmp_path, "UPDATE idempotency_keys SET created_at = datetime('now', '-25 hours')")
    asyncio.run(purge(path))
    assert not rows(tmp_path, "SELECT * FROM idempotency_keys")


async def purge(path: Path) -> None:
    database = Database(path)
    async with database.write() as session:
        await purge_expired(session)
    await database.close()


def test_a_reply_that_a_kill_cut_off_is_what_the_retry_gets(tmp_path: Path) -> None:
    key = Keys.new()
    with service_process(tmp_path) as (process, client):
        session_id = new_session(client)
        request = say(session_id, LONG_TASK, max_tokens=2000, stream=True)
        begun: list[ServerSentEvent] = []
        with events_of(client, "POST", request["url"], key, json=request["json"]) as events:
            while len(heard(begun)) < 200:
                begun.append(next(events))
            process.send_signal(signal.SIGKILL)
            process.wait()

    with service_process(tmp_path) as (_, client):
        asked, partial = messages(client, session_id)
        last = key | {"Last-Event-ID": begun[-1].id}
        with events_of(client, "POST", request["url"], last, json=request["json"]) as events:
            again = list(events)
        assert [event.event for event in again] == ["started", "delta", "finished"]
        assert again[0].json()["user_message"] == asked
        assert again[-1].json() == {"message": partial, "user_message": asked, "usage": None}
        assert partial["status"] == "interrupted"
        assert messages(client, session_id) == [asked, partial]
