"""Streams of responses, and responses in the background: streamed again, cancelled, left alone."""

from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response

from app.chat.service import Chat
from app.settings import Settings
from tests.app.conftest import RunningService
from tests.app.keys import new_key
from tests.app.service import StartService, until
from tests.app.standard import CHAT_MODEL, in_window, openai_client, refused, respond

pytestmark = pytest.mark.stand_in


@pytest.fixture(scope="module")
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


@pytest.mark.parametrize("store", [True, False])
def test_a_stream_has_the_events_of_the_standard_in_their_order(standard: OpenAI, *, store: bool) -> None:
    events: list[Any] = list(
        standard.responses.create(
            model=CHAT_MODEL,
            input="Tell me a short story.",
            max_output_tokens=12,
            stream=True,
            store=store,
            include=["message.output_text.logprobs"],
            top_logprobs=2,
        )
    )
    kinds = [event.type for event in events]
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * len(deltas),
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(delta.delta for delta in deltas)
    last = events[-1].response
    assert text == events[-4].text == events[-3].part.text == last.output_text
    assert {event.item_id for event in deltas} == {last.output[0].id}
    assert (events[0].response.status, events[0].response.id) == ("in_progress", last.id)
    scored = last.output[0].content[0].logprobs
    assert len(scored) == last.usage.output_tokens == 12
    assert sum(len(delta.logprobs) for delta in deltas) == 12
    assert len(scored[0].top_logprobs) == 2
    if store:
        again = standard.responses.retrieve(last.id)
        assert (again.status, again.output_text) == ("incomplete", text)


def test_a_client_that_goes_away_ends_the_response_and_what_was_said_is_kept(
    client: httpx.Client, standard: OpenAI
) -> None:
    with standard.responses.create(
        model=CHAT_MODEL,
        input="Write a very long story about a whale, with many chapters.",
        max_output_tokens=4000,
        stream=True,
    ) as stream:
        for event in stream:
            if event.type == "response.created":
                response_id = event.response.id
                assert standard.responses.retrieve(response_id).status == "in_progress"
            if event.type == "response.output_text.delta":
                break
    follows = respond(standard, "Stop.", previous_response_id=response_id, max_output_tokens=1)
    assert len(in_window(client, follows)) == 3
    left = standard.responses.retrieve(response_id)
    assert left.status == "cancelled"
    assert left.output_text


def test_a_response_can_be_cancelled_by_another_request(standard: OpenAI) -> None:
    with standard.responses.create(
        model=CHAT_MODEL, input="Write a very long story.", max_output_tokens=4000, stream=True
    ) as stream:
        kinds = []
        for event in stream:
            kinds.append(event.type)
            if event.type == "response.created":
                response_id = event.response.id
            if event.type == "response.output_text.delta" and kinds.count(event.type) == 3:
                cancelled = standard.responses.cancel(response_id)
                assert cancelled.status == "cancelled"
    assert kinds[-1] == "response.failed"
    assert standard.responses.cancel(response_id) == cancelled
    done = respond(standard, "Hi.")
    with pytest.raises(openai.BadRequestError):
        standard.responses.cancel(done.id)


LONG = "Write a very long story about a whale, with many chapters."


def in_background(standard: OpenAI, said: str = "Tell me a story.", **asked: Any) -> Response:
    """How the response begins."""
    return respond(standard, said, background=True, **asked)


def ended(standard: OpenAI, response_id: str) -> Response:
    """The response when it is not being generated any more."""
    response: Response = until(
        lambda: standard.responses.retrieve(response_id),
        lambda now: now.status not in ("queued", "in_progress"),
    )
    return response


def streamed(standard: OpenAI, response_id: str, **asked: Any) -> list[Any]:
    return list(standard.responses.retrieve(response_id, stream=True, **asked))


def test_a_response_in_the_background_answers_at_once_and_is_asked_for_until_it_is_there(
    client: httpx.Client, standard: OpenAI
) -> None:
    begun = in_background(standard, max_output_tokens=30)
    assert (begun.status, begun.background, begun.output) == ("queued", True, [])
    done = ended(standard, begun.id)
    assert (done.status, done.background) == ("incomplete", True)
    assert done.usage is not None
    assert done.usage.output_tokens == 30
    follows = respond(standard, "And then?", previous_response_id=begun.id)
    assert in_window(client, follows) == ["Tell me a story.", done.output_text, "And then?"]
    assert not follows.background


def test_a_response_that_ends_while_it_is_looked_up_is_found_ended(
    standard: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Chat.is_generating

    async def asked_after_the_end(chat: Chat, session_id: str, reply_id: str) -> bool:
        async with chat.quiet(session_id):
            pass
        return await asked(chat, session_id, reply_id)

    monkeypatch.setattr(Chat, "is_generating", asked_after_the_end)
    begun = in_background(standard, max_output_tokens=20)
    assert standard.responses.retrieve(begun.id).status == "incomplete"
    begun = in_background(standard, max_output_tokens=20)
    assert respond(standard, "And then?", previous_response_id=begun.id).output_text


def test_a_stream_that_broke_off_goes_on_behind_any_event(standard: OpenAI) -> None:
    asked: dict[str, Any] = {"model": CHAT_MODEL, "input": "Count.", "max_output_tokens": 60}
    before: list[Any] = []
    with standard.responses.create(**asked, background=True, stream=True) as stream:
        for event in stream:
            before.append(event)
            if len(before) == 8:
                break
    assert [event.type for event in before[:3]] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    response_id, seen = before[0].response.id, before[-1].sequence_number
    after = streamed(standard, response_id, starting_after=seen)
    whole = streamed(standard, response_id)
    assert whole == [*before, *after]
    assert [event.sequence_number for event in whole] == list(range(len(whole)))
    text = "".join(event.delta for event in whole if event.type == "response.output_text.delta")
    assert text == whole[-1].response.output_text == standard.responses.retrieve(response_id).output_text
    assert streamed(standard, response_id, starting_after=len(whole) - 2) == whole[-1:]
    assert streamed(standard, response_id, starting_after=len(whole) - 1) == []


def test_events_can_be_had_though_no_stream_was_asked_for_at_first(standard: OpenAI) -> None:
    begun = in_background(standard, LONG, max_output_tokens=60)
    during = streamed(standard, begun.id)
    assert during[-1].response.id == begun.id
    assert during[-1].type == "response.incomplete"
    assert streamed(standard, begun.id) == during


def test_a_response_in_the_background_is_cancelled_once_and_says_so_again(standard: OpenAI) -> None:
    begun = in_background(standard, LONG, max_output_tokens=4000)
    with standard.responses.retrieve(begun.id, stream=True) as stream:
        assert any(event.type == "response.output_text.delta" for event in stream)
        cancelled = standard.responses.cancel(begun.id)
        assert cancelled.status == "cancelled"
        assert [event.type for event in stream][-1] == "response.failed"
    assert standard.responses.cancel(begun.id) == cancelled
    assert standard.responses.retrieve(begun.id) == cancelled
    done = in_background(standard, max_output_tokens=1)
    assert ended(standard, done.id).status == "incomplete"
    with pytest.raises(openai.BadRequestError):
        standard.responses.cancel(done.id)


def test_a_response_that_is_cancelled_before_its_first_word_stays_cancelled(
    start_service: StartService,
) -> None:
    standard = openai_client(start_service(max_running=1))
    running, waiting = (in_background(standard, LONG, max_output_tokens=4000) for _ in range(2))
    for _ in range(2):
        cancelled = standard.responses.cancel(waiting.id)
        assert (cancelled.status, cancelled.output) == ("cancelled", [])
    assert standard.responses.retrieve(waiting.id).status == "cancelled"
    assert streamed(standard, waiting.id)[-1].type == "response.failed"
    assert standard.responses.cancel(running.id).status == "cancelled"


@pytest.mark.parametrize("resume_s", [0, 60])
def test_a_request_that_comes_again_under_its_key_is_said_once(
    start_service: StartService, resume_s: int
) -> None:
    client = start_service(resume_s=resume_s)
    standard = openai_client(client)
    asked: dict[str, Any] = {"extra_headers": {"Idempotency-Key": "twice"}, "max_output_tokens": 50}
    begun = [in_background(standard, LONG, **asked) for _ in range(2)]
    assert begun[0].id == begun[1].id
    done = ended(standard, begun[0].id)
    again = in_background(standard, LONG, **asked)
    assert (again.id, again.status) == (done.id, "queued" if resume_s else done.status)
    asked["extra_headers"] = {"Idempotency-Key": "streamed"}
    streams: list[Any] = [in_background(standard, "Hi.", stream=True, **asked) for _ in range(2)]
    first, second = (list(stream) for stream in streams)
    assert first[-1].response.output_text == second[-1].response.output_text
    for response_id in (done.id, first[0].response.id):
        message_id = f"msg_{response_id.removeprefix('resp_')}"
        session_id = client.get(f"/v1/messages/{message_id}").json()["session_id"]
        said = client.get(f"/v1/sessions/{session_id}/messages").json()["data"]
        assert [message["role"] for message in said] == ["user", "assistant"]


def test_what_is_not_stored_cannot_be_in_the_background(standard: OpenAI) -> None:
    error = refused(standard, background=True, store=False)
    assert (error.status_code, error.param, error.code) == (400, "background", "invalid_request")


def test_a_response_being_generated_is_deleted_once_it_is_cancelled(standard: OpenAI) -> None:
    begun = in_background(standard, LONG, max_output_tokens=4000)
    with pytest.raises(openai.ConflictError):
        standard.responses.delete(begun.id)
    standard.responses.cancel(begun.id)
    standard.responses.delete(begun.id)
    for call in (standard.responses.retrieve, standard.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            call(begun.id)
    with pytest.raises(openai.NotFoundError):
        standard.responses.retrieve(begun.id, stream=True)


def test_a_chat_that_is_deleted_while_it_speaks_is_not_told_again(
    client: httpx.Client, standard: OpenAI
) -> None:
    conversation = standard.conversations.create()
    begun = in_background(standard, LONG, max_output_tokens=4000, conversation=conversation.id)
    message_id = f"msg_{begun.id.removeprefix('resp_')}"
    with standard.responses.retrieve(begun.id, stream=True) as stream:
        assert any(event.type == "response.output_text.delta" for event in stream)
        standard.conversations.delete(conversation.id)
        assert [event.type for event in stream][-1] == "response.failed"
    with pytest.raises(openai.NotFoundError):
        standard.responses.retrieve(begun.id, stream=True)
    assert client.get(f"/v1/messages/{message_id}/events").status_code == 404


@pytest.mark.parametrize("number", ["-1", "x", "1.5", "99999", "1" * 30])
def test_a_number_that_no_event_has_is_refused(client: httpx.Client, standard: OpenAI, number: str) -> None:
    done = ended(standard, in_background(standard, max_output_tokens=1).id)
    answer = client.get(f"/v1/responses/{done.id}", params={"stream": "true", "starting_after": number})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "starting_after"


def test_another_owner_cannot_ask_for_it_nor_cancel_it(
    running_service: RunningService, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path, require_key=True)
    scopes = ("--scope", "read", "--scope", "write")
    with running_service(settings) as client:
        host, stranger = (
            openai_client(client, key=new_key(tmp_path, "--tenant", tenant, *scopes))
            for tenant in ("host", "stranger")
        )
        begun = in_background(host, LONG, max_output_tokens=4000)
        for ask in (
            lambda: stranger.responses.retrieve(begun.id),
            lambda: stranger.responses.retrieve(begun.id, stream=True),
            lambda: stranger.responses.retrieve(begun.id, stream=True, starting_after=0),
            lambda: stranger.responses.cancel(begun.id),
        ):
            with pytest.raises(openai.NotFoundError):
                ask()
        assert host.responses.retrieve(begun.id).status in ("in_progress", "completed")


def test_after_a_restart_responses_stand_as_they_were_left(
    running_service: RunningService, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path)
    with running_service(settings) as client:
        standard = openai_client(client)
        done = ended(standard, in_background(standard, max_output_tokens=5).id)
        running = in_background(standard, LONG, max_output_tokens=4000)
        with standard.responses.retrieve(running.id, stream=True) as stream:
            assert any(event.type == "response.output_text.delta" for event in stream)
    with running_service(settings) as client:
        standard = openai_client(client)
        assert standard.responses.retrieve(done.id) == done
        left = standard.responses.retrieve(running.id)
        assert left.status == "cancelled"
        assert left.output_text
        again = streamed(standard, done.id)
        assert again[-1].response.output_text == done.output_text
        assert streamed(standard, running.id)[-1].type == "response.failed"
        with pytest.raises(openai.BadRequestError) as error:
            streamed(standard, done.id, starting_after=2)
        assert error.value.param == "starting_after"
