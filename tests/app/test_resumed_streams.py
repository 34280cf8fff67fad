"""Streams that broke off are gone on with, and told again afterwards."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from httpx_sse import ServerSentEvent, connect_sse

from tests.app.keyed import Keys, ask_chat, events_of, heard, new_session, say
from tests.app.service import StartService
from tests.app.test_faults import LONG_TASK, messages

pytestmark = pytest.mark.stand_in


def test_the_same_stream_is_followed_while_it_runs_and_told_again_afterwards(
    repeating_client: httpx.Client,
) -> None:
    session_id, key = new_session(repeating_client), Keys.new()
    request = say(session_id, LONG_TASK, max_tokens=30, stream=True)

    def follow(_: int = 0) -> list[ServerSentEvent]:
        with events_of(repeating_client, "POST", request["url"], key, json=request["json"]) as events:
            return list(events)

    with ThreadPoolExecutor(3) as threads:
        told = list(threads.map(follow, range(3)))
    told.append(follow())
    first = told[0]
    assert [first[0].event, first[-1].event] == ["started", "finished"]
    for each in told:
        assert heard(each) == heard(first) == first[-1].json()["message"]["content"]
        assert each[-1].json() == first[-1].json()
    assert len(messages(repeating_client, session_id)) == 2


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
def test_an_id_that_is_of_no_event_of_the_reply_is_refused(
    repeating_client: httpx.Client, wrong: str
) -> None:
    session_id, key = new_session(repeating_client), Keys.new()
    request = say(session_id, stream=True)
    headers = key | {"Last-Event-ID": wrong}
    refused = repeating_client.post(**request, headers=headers)
    assert refused.status_code == 422
    assert not messages(repeating_client, session_id), "nothing was done"
    assert repeating_client.post(**request, headers=key).is_success
    refused = repeating_client.post(**request, headers=headers)
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
    at_hand_s = 0.2
    client = start_service(resume_s=at_hand_s)
    session_id, key = new_session(client), Keys.new()
    request = say(session_id, LONG_TASK, max_tokens=2000, stream=True)
    with events_of(client, "POST", request["url"], key, json=request["json"]) as events:
        begun = [next(events) for _ in range(3)]
    assert client.post(**say(session_id, if_busy="wait")).is_success
    said = messages(client, session_id)
    assert [each["status"] for each in said] == ["complete", "interrupted", "complete", "complete"]
    time.sleep(2 * at_hand_s)
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
