"""Requests that come again with their key are carried out once, and broken streams are gone on with."""

import asyncio
import json
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import ServerSentEvent, connect_sse

from app.settings import Settings
from app.storage.database import Database
from app.storage.idempotency import (
    IdempotencyKeys,
    KeyTakenError,
    RequestKey,
    carried_out,
    purge_expired,
)
from app.storage.sessions import Sessions
from tests.app.conftest import RunningService
from tests.app.processes import service_process
from tests.app.service import StartService
from tests.app.test_faults import LONG_TASK, messages

MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def forgetful_client(
    running_service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """Of a service that keeps no answer in memory, as one that has been started again does."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), resume_s=0)
    with running_service(settings) as client:
        yield client


@pytest.fixture(params=["at hand", "stored"])
def service(request: pytest.FixtureRequest) -> httpx.Client:
    """A service that gives an answer again from memory, and one that makes it anew of what is stored."""
    fixture = "used_client" if request.param == "at hand" else "forgetful_client"
    client: httpx.Client = request.getfixturevalue(fixture)
    return client


class Keys:
    """Keys that nobody has used, and requests with one."""

    count = 0

    @classmethod
    def new(cls) -> dict[str, str]:
        cls.count += 1
        return {"Idempotency-Key": f"key-{cls.count}"}


def new_session(client: httpx.Client, **body: Any) -> str:
    return str(client.post("/v1/sessions", json=body).json()["id"])


@contextmanager
def events_of(
    client: httpx.Client, method: str, path: str, headers: dict[str, str], **sent: Any
) -> Iterator[Iterator[ServerSentEvent]]:
    with connect_sse(client, method, path, headers=headers, **sent) as source:
        assert source.response.status_code == 200, source.response.read()
        yield source.iter_sse()


def say(session_id: str, content: str = "Hello!", max_tokens: int = 8, **more: Any) -> dict[str, Any]:
    body = {"content": content, "max_tokens": max_tokens, "temperature": 0, **more}
    return {"url": f"/v1/sessions/{session_id}/messages", "json": body}


def ask_chat(session_id: str, **more: Any) -> dict[str, Any]:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hello!"}],
        "max_tokens": 8,
        "metadata": {"session_id": session_id},
        **more,
    }
    return {"url": "/v1/chat/completions", "json": body}


def respond(**more: Any) -> dict[str, Any]:
    body = {"input": "Hello!", "max_output_tokens": 8, "temperature": 0, **more}
    return {"url": "/v1/responses", "json": body}


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
    service: httpx.Client,
) -> None:
    requests = requests_that_create(service)
    keys = {name: Keys.new() for name in requests}
    first = {name: service.post(**request, headers=keys[name]) for name, request in requests.items()}
    there = counts(service)
    again = {name: service.post(**request, headers=keys[name]) for name, request in requests.items()}
    assert counts(service) == there
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
        "/v1/conversations/{conversation_id}",
        "/v1/responses/{response_id}/cancel",
    }
    creating = {(path, "post") for path, operations in paths.items() if "post" in operations}
    assert taking == {(path, method) for path, method in creating if path not in nothing_new}


def test_a_request_without_a_key_is_carried_out_each_time(used_client: httpx.Client) -> None:
    session_id = new_session(used_client)
    assert used_client.post(**say(session_id)).json() != used_client.post(**say(session_id)).json()
    assert len(messages(used_client, session_id)) == 4


def test_a_key_of_another_request_is_refused(service: httpx.Client) -> None:
    session_id, key = new_session(service), Keys.new()
    assert service.post(**say(session_id), headers=key).is_success
    path = f"/v1/sessions/{session_id}"
    others: list[dict[str, Any]] = [
        say(session_id, "Goodbye!"),
        say(session_id, stream=True),
        say(new_session(service)),
        {"url": f"{path}/messages", "params": {"a": "b"}, "json": say(session_id)["json"]},
        {"url": "/v1/sessions", "json": {}},
    ]
    for other in others:
        refused = service.post(**other, headers=key)
        assert refused.status_code == 422
        assert refused.json()["type"] == "urn:perdure:problem:idempotency-key-reused"
    standard = service.post(**ask_chat(session_id), headers=key)
    assert (standard.status_code, standard.json()["error"]["code"]) == (400, "idempotency_key_reused")
    assert len(messages(service, session_id)) == 2


def test_a_standard_request_to_another_session_is_another_request(service: httpx.Client) -> None:
    key, sessions = Keys.new(), [new_session(service) for _ in range(2)]
    request = ask_chat("", metadata=None)
    first, second = (
        service.post(**request, headers=key | {"X-Perdure-Session": session_id}) for session_id in sessions
    )
    assert first.is_success
    assert second.json()["error"]["code"] == "idempotency_key_reused"
    assert not messages(service, sessions[1])


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


def test_of_two_at_once_one_speaks_and_both_get_its_reply(service: httpx.Client) -> None:
    session_id, key = new_session(service), Keys.new()
    request = say(session_id, max_tokens=40)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: service.post(**request, headers=key), range(4)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) <= 2  # as it was sent, and as it was made anew
    assert all(answer.json() == answers[0].json() for answer in answers)
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert len(messages(service, session_id)) == 2


def heard(events: list[ServerSentEvent]) -> str:
    return "".join(event.json()["text"] for event in events if event.event == "delta")


def test_the_same_stream_is_followed_while_it_runs_and_told_again_afterwards(service: httpx.Client) -> None:
    session_id, key = new_session(service), Keys.new()
    request = say(session_id, LONG_TASK, max_tokens=30, stream=True)

    def follow(_: int = 0) -> list[ServerSentEvent]:
        with events_of(service, "POST", request["url"], key, json=request["json"]) as events:
            return list(events)

    with ThreadPoolExecutor(3) as threads:
        told = list(threads.map(follow, range(3)))
    told.append(follow())
    first = told[0]
    assert [first[0].event, first[-1].event] == ["started", "finished"]
    for each in told:
        assert heard(each) == heard(first) == first[-1].json()["message"]["content"]
        assert each[-1].json() == first[-1].json()
    assert len(messages(service, session_id)) == 2


def test_a_stream_that_broke_off_goes_on_behind_the_last_event(used_client: httpx.Client) -> None:
    session_id, key = new_session(used_client), Keys.new()
    request = say(session_id, LONG_TASK, max_tokens=30, stream=True)
    before: list[ServerSentEvent] = []
    with events_of(used_client, "POST", request["url"], key, json=request["json"]) as events:
        while len(before) < 5:
            before.append(next(events))
    last = key | {"Last-Event-ID": before[-1].id}
    with events_of(used_client, "POST", request["url"], last, json=request["json"]) as events:
        behind = list(events)
    assert behind[-1].event == "finished"
    reply = behind[-1].json()["message"]
    assert reply["status"] == "complete"
    assert heard(before + behind) == reply["content"]
    ids = [event.id for event in before + behind]
    assert len(set(ids)) == len(ids)

    path = f"/v1/messages/{reply['id']}/events"
    with events_of(used_client, "GET", path, {"Last-Event-ID": before[2].id}) as events:
        assert [event.id for event in events] == ids[3:]
    with events_of(used_client, "GET", path, {}) as events:
        assert [event.id for event in events] == ids
    nothing = used_client.get(path, headers={"Last-Event-ID": ids[-1]})
    assert (nothing.status_code, nothing.content) == (204, b"")
    assert len(messages(used_client, session_id)) == 2


def test_a_reply_can_be_followed_by_its_address_while_it_is_generated(used_client: httpx.Client) -> None:
    request = say(new_session(used_client), LONG_TASK, max_tokens=30, stream=True)
    with connect_sse(used_client, "POST", request["url"], headers=Keys.new(), json=request["json"]) as source:
        events = source.iter_sse()
        first = next(events)
        address = source.response.headers["Content-Location"]
    with events_of(used_client, "GET", address, {"Last-Event-ID": first.id}) as events:
        rest = list(events)
    assert rest[-1].event == "finished"
    assert heard(rest) == rest[-1].json()["message"]["content"]
    assert address == f"/v1/messages/{rest[-1].json()['message']['id']}/events"


def test_a_stream_of_a_completion_is_resumed_too(used_client: httpx.Client) -> None:
    request = ask_chat(new_session(used_client), stream=True, max_tokens=30)
    key = Keys.new()
    with events_of(used_client, "POST", request["url"], key, json=request["json"]) as events:
        before = [next(events) for _ in range(3)]
    last = key | {"Last-Event-ID": before[-1].id}
    with events_of(used_client, "POST", request["url"], last, json=request["json"]) as events:
        behind = list(events)
    assert behind[-1].data == "[DONE]"
    chunks = [event.json() for event in before + behind[:-1]]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == messages(used_client, request["json"]["metadata"]["session_id"])[-1]["content"]


def test_a_completion_is_told_again_of_what_is_stored(forgetful_client: httpx.Client) -> None:
    session_id, key = new_session(forgetful_client), Keys.new()
    request = ask_chat(session_id, stream=True, stream_options={"include_usage": True}, logprobs=True)

    def text_and_usage() -> tuple[str, Any]:
        with events_of(forgetful_client, "POST", request["url"], key, json=request["json"]) as events:
            *chunks, usage, done = [event.data for event in events]
        assert done == "[DONE]"
        deltas = [json.loads(chunk)["choices"][0]["delta"] for chunk in chunks]
        return "".join(delta.get("content", "") for delta in deltas), json.loads(usage)["usage"]

    assert text_and_usage() == text_and_usage()
    assert len(messages(forgetful_client, session_id)) == 2


@pytest.mark.parametrize("wrong", ["7", "x.1", "0123456789abcdef.1", "99999999999999999999"])
def test_an_id_that_is_of_no_event_of_the_reply_is_refused(service: httpx.Client, wrong: str) -> None:
    session_id, key = new_session(service), Keys.new()
    request = say(session_id, stream=True)
    headers = key | {"Last-Event-ID": wrong}
    refused = service.post(**request, headers=headers)
    assert refused.status_code == 422
    assert not messages(service, session_id), "nothing was done"
    assert service.post(**request, headers=key).is_success
    refused = service.post(**request, headers=headers)
    assert refused.json()["errors"][0]["field"] == "Last-Event-ID"


def test_an_event_that_has_not_been_sent_is_refused(used_client: httpx.Client) -> None:
    key, request = Keys.new(), say(new_session(used_client), stream=True)
    with events_of(used_client, "POST", request["url"], key, json=request["json"]) as events:
        *_, last = events
    name, number = last.id.split(".")
    beyond = key | {"Last-Event-ID": f"{name}.{int(number) + 1}"}
    assert used_client.post(**request, headers=beyond).status_code == 422


def test_a_client_without_a_key_that_goes_away_ends_the_reply(used_client: httpx.Client) -> None:
    session_id = new_session(used_client)
    request = say(session_id, LONG_TASK, max_tokens=2000, stream=True)
    with events_of(used_client, "POST", request["url"], {}, json=request["json"]) as events:
        assert [next(events).id for _ in range(3)] == ["", "", ""]
    used_client.post(**say(session_id, if_busy="wait"))
    assert messages(used_client, session_id)[1]["status"] == "interrupted"


def test_a_reply_whose_client_does_not_come_back_ends_after_the_grace_time(
    start_service: StartService,
) -> None:
    client = start_service(resume_s=0.2)
    session_id, key = new_session(client), Keys.new()
    request = say(session_id, LONG_TASK, max_tokens=2000, stream=True)
    with events_of(client, "POST", request["url"], key, json=request["json"]) as events:
        begun = [next(events) for _ in range(3)]
    assert client.post(**say(session_id, if_busy="wait")).is_success
    said = messages(client, session_id)
    assert [each["status"] for each in said] == ["complete", "interrupted", "complete", "complete"]
    # Its events are no longer at hand: the reply is given whole, as it was stored.
    last = key | {"Last-Event-ID": begun[-1].id}
    with events_of(client, "POST", request["url"], last, json=request["json"]) as events:
        again = list(events)
    assert again[-1].json()["message"] == said[1]
    assert heard(again) == said[1]["content"]
    with events_of(client, "GET", f"/v1/messages/{said[1]['id']}/events", {}) as events:
        assert heard(list(events)) == said[1]["content"]


def test_answers_that_have_ended_take_no_more_memory_than_they_may(start_service: StartService) -> None:
    client = start_service(resume_mb=0)
    request, key = say(new_session(client), stream=True), Keys.new()
    for each in (key, Keys.new(), key):
        with events_of(client, "POST", request["url"], each, json=request["json"]) as events:
            told = list(events)
    assert [event.event for event in told] == ["started", "delta", "finished"], "it was made anew"


def test_the_events_of_what_is_no_reply_do_not_exist(used_client: httpx.Client) -> None:
    asked = used_client.post(**say(new_session(used_client))).json()
    for message_id in (asked["user_message"]["id"], "msg_nobody"):
        assert used_client.get(f"/v1/messages/{message_id}/events").status_code == 404


def test_a_message_that_only_gives_instructions_gives_them_once(service: httpx.Client) -> None:
    session_id, key = new_session(service, prefixes=True), Keys.new()
    request = say(session_id, "ci: You are a pirate.")
    first = service.post(**request, headers=key).json()
    service.patch(f"/v1/sessions/{session_id}", json={"instructions": "You are a monk."})
    again = service.post(**request, headers=key).json()
    assert again["notice"] == first["notice"]
    assert service.get(f"/v1/sessions/{session_id}").json()["instructions"] == "You are a monk."


def test_what_was_deleted_is_neither_told_nor_said_again(service: httpx.Client) -> None:
    session_id, key = new_session(service), Keys.new()
    said = service.post(**say(session_id), headers=key).json()
    service.delete(f"/v1/messages/{said['user_message']['id']}")
    assert service.post(**say(session_id), headers=key).status_code == 404
    assert not messages(service, session_id)
    forgotten = Keys.new()
    said = service.post(**say(session_id), headers=forgotten).json()
    from_message = {"from_message_id": said["user_message"]["id"]}
    assert service.post(f"/v1/sessions/{session_id}/forget", json=from_message).is_success
    assert service.post(**say(session_id), headers=forgotten).status_code == 404


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
