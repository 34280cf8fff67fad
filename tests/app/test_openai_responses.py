"""Responses of OpenAI's API, by its client: stored as replies of chat sessions, chained, streamed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response

from app.settings import Settings
from tests.app.conftest import RunningService
from tests.app.standard import (
    CHAT_MODEL,
    context_of,
    in_window,
    openai_client,
    refused,
    respond,
    session_of,
    sessions_there,
    texts,
)

pytestmark = pytest.mark.stand_in


@pytest.fixture(scope="module")
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


@pytest.fixture(scope="module")
def small(
    running_service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A service with a small window."""
    settings = Settings(home=tmp_path_factory.mktemp("small"), context_window=512, reply_tokens=32)
    with running_service(settings) as client:
        yield client


def test_a_response_is_stored_and_can_be_had_again(client: httpx.Client, standard: OpenAI) -> None:
    asked: dict[str, Any] = {"metadata": {"topic": "dogs"}, "top_p": 0.5, "user": "ignored"}
    response = respond(standard, "My dog is called Biscuit.", max_output_tokens=20, **asked)
    assert response.id.startswith("resp_")
    assert (response.object, response.model) == ("response", CHAT_MODEL)
    assert (response.temperature, response.top_p, response.max_output_tokens) == (0, 0.5, 20)
    assert (response.metadata, response.truncation) == ({"topic": "dogs"}, "disabled")
    assert (response.previous_response_id, response.conversation, response.error) == (None, None, None)
    assert response.output_text
    [item] = response.output
    assert (item.type, item.id) == ("message", f"msg_{response.id.removeprefix('resp_')}")
    assert response.usage is not None
    assert response.usage.input_tokens == context_of(client, response)["prompt_tokens"]
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    again = standard.responses.retrieve(response.id)
    assert abs((again.completed_at or 0) - (response.completed_at or 0)) <= 1
    changing = {"completed_at": None, "created_at": 0}
    assert again.model_copy(update=changing) == response.model_copy(update=changing)
    assert texts(standard.responses.input_items.list(response.id)) == ["My dog is called Biscuit."]


def test_a_response_that_reaches_its_bound_is_incomplete(standard: OpenAI) -> None:
    response = respond(standard, "Tell me a long story.", max_output_tokens=2)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage is not None
    assert response.usage.output_tokens == 2
    assert standard.responses.retrieve(response.id).incomplete_details == response.incomplete_details


def test_input_of_several_items_is_the_history_before_the_last(
    client: httpx.Client, standard: OpenAI
) -> None:
    said = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "My cat is called Mog."},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Nice."}]},
        {"role": "user", "content": [{"type": "input_text", "text": "What is my cat called?"}]},
    ]
    wanted = ["Be brief.", "My cat is called Mog.", "Nice.", "What is my cat called?"]
    begun = respond(standard, said)
    assert in_window(client, begun) == wanted
    assert texts(standard.responses.input_items.list(begun.id, order="asc", limit=3)) == wanted
    page = standard.responses.input_items.list(begun.id, limit=1)
    assert (texts(page.data), page.has_more) == (wanted[-1:], True)
    assert texts(standard.responses.input_items.list(begun.id, limit=1)) == wanted[::-1]
    followed = respond(standard, said, previous_response_id=begun.id)
    assert in_window(client, followed) == [*wanted, begun.output_text, *wanted]
    assert texts(standard.responses.input_items.list(followed.id, order="asc")) == wanted
    third = respond(standard, "And now?", previous_response_id=followed.id)
    assert in_window(client, third)[-2:] == [followed.output_text, "And now?"]
    assert third.usage is not None
    assert third.usage.input_tokens_details.cached_tokens > 0


def test_a_chain_goes_on_in_one_session_and_branches_where_something_follows_already(
    client: httpx.Client, standard: OpenAI
) -> None:
    first = respond(standard, "My dog is called Biscuit.")
    second = respond(standard, "What is it called?", previous_response_id=first.id)
    other = respond(standard, "Is it a cat?", previous_response_id=first.id)
    on_second = respond(standard, "Sure?", previous_response_id=second.id)
    on_other = respond(standard, "Really?", previous_response_id=other.id)
    begun = ["My dog is called Biscuit.", first.output_text]
    assert in_window(client, on_second) == [*begun, "What is it called?", second.output_text, "Sure?"]
    assert in_window(client, on_other) == [*begun, "Is it a cat?", other.output_text, "Really?"]
    assert session_of(client, first) == session_of(client, second) == session_of(client, on_second)
    assert session_of(client, other) == session_of(client, on_other) != session_of(client, first)
    assert on_other.previous_response_id == other.id
    assert standard.responses.retrieve(first.id).output_text == first.output_text


def test_responses_that_continue_one_at_once_each_have_their_branch(
    client: httpx.Client, standard: OpenAI
) -> None:
    first = respond(standard, "Let us count.")

    def follow(number: int) -> Response:
        return respond(standard, f"Say {number}.", previous_response_id=first.id, max_output_tokens=2)

    with ThreadPoolExecutor(3) as pool:
        followed = list(pool.map(follow, range(3)))
    assert len({session_of(client, each) for each in followed}) == 3
    for number, each in enumerate(followed):
        assert in_window(client, each) == ["Let us count.", first.output_text, f"Say {number}."]


def test_a_response_in_a_conversation_adds_to_it(client: httpx.Client, standard: OpenAI) -> None:
    conversation = standard.conversations.create(items=[{"role": "user", "content": "I am Tom."}])
    first = respond(standard, openai.omit, conversation=conversation.id)
    second = respond(standard, "Who am I?", conversation={"id": conversation.id})
    items = standard.conversations.items.list(conversation.id, order="asc").data
    assert texts(items) == ["I am Tom.", first.output_text, "Who am I?", second.output_text]
    assert second.conversation is not None
    assert second.conversation.id == conversation.id
    assert texts(standard.responses.input_items.list(first.id)) == []
    beside = respond(standard, "What did I say?", previous_response_id=first.id)
    assert in_window(client, beside) == ["I am Tom.", first.output_text, "What did I say?"]
    assert standard.conversations.items.list(conversation.id, order="asc").data == items
    nothing_to_answer = refused(standard, openai.omit, conversation=conversation.id)
    assert (nothing_to_answer.status_code, nothing_to_answer.param) == (400, "input")


def test_instructions_hold_for_their_response_alone(client: httpx.Client, standard: OpenAI) -> None:
    first = respond(standard, "Hello.", instructions="You are a pirate.")
    assert first.instructions == "You are a pirate."
    assert in_window(client, first) == ["You are a pirate.", "Hello."]
    assert context_of(client, first)["segments"][0]["kind"] == "note"
    second = respond(standard, "And now?", previous_response_id=first.id)
    assert second.instructions is None
    assert in_window(client, second) == ["Hello.", first.output_text, "And now?"]


def test_instructions_stand_beside_a_persona_and_never_in_its_place(
    client: httpx.Client, standard: OpenAI
) -> None:
    persona = {"name": "Pippa", "instructions": "You are Pippa, a cheerful pirate."}
    persona_id = client.post("/v1/personas", json=persona).json()["id"]
    conversation = standard.conversations.create(metadata={"persona": persona_id})
    response = respond(standard, "Hello.", conversation=conversation.id, instructions="Be brief.")
    assert in_window(client, response) == [persona["instructions"], "Be brief.", "Hello."]
    begun = respond(standard, "Hello.", metadata={"persona": persona_id, "user": "tom"})
    assert in_window(client, begun) == [persona["instructions"], "Hello."]
    assert client.get(f"/v1/sessions/{session_of(client, begun)}").json()["user_id"] == "tom"


def long_chat() -> Any:
    """More than the small window holds, in six turns."""
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": f"{n}: {'word ' * 50}"} for n in range(12)]


def test_unless_the_strategy_may_choose_a_window_that_does_not_hold_all_is_an_error(
    small: httpx.Client,
) -> None:
    standard = openai_client(small)
    conversation = standard.conversations.create(items=long_chat())
    for truncation in ({}, {"truncation": "disabled"}):
        too_long = refused(standard, conversation=conversation.id, **truncation)
        assert (too_long.status_code, too_long.code) == (400, "context_length_exceeded")
        assert "512" in too_long.message
    assert len(standard.conversations.items.list(conversation.id, limit=100).data) == 12
    fits = respond(standard, "Hi.", conversation=conversation.id, truncation="auto")
    assert fits.truncation == "auto"
    context = context_of(small, fits)
    assert context["strategy"]["strategy"] == "token_buffer"
    assert context["left_out"]
    assert any(segment["kind"] == "turn" for segment in context["segments"])
    memory = '{"strategy": "sliding_window", "turns": 1}'
    standard.conversations.update(conversation.id, metadata={"strategy": memory})
    named = respond(standard, "Hi again.", conversation=conversation.id)
    assert (named.truncation, in_window(small, named)) == ("auto", ["Hi.", fits.output_text, "Hi again."])


def test_truncation_holds_for_what_is_sent_at_once_too(small: httpx.Client) -> None:
    standard = openai_client(small)
    said = [{"role": "system", "content": "Be brief."}, *long_chat(), {"role": "user", "content": "Hi."}]
    before = sessions_there(small)
    for store in (True, False):
        assert refused(standard, said, store=store).code == "context_length_exceeded"
        cut = respond(standard, said, store=store, truncation="auto", max_output_tokens=2)
        assert cut.usage is not None
        assert 128 < cut.usage.input_tokens <= 510
    assert len(sessions_there(small) - before) == 1
    for store in (True, False):
        too_long = refused(standard, "word " * 600, truncation="auto", store=store)
        assert too_long.code == "context_length_exceeded"
    assert len(sessions_there(small) - before) == 1


def test_what_is_not_to_be_stored_is_not(client: httpx.Client, standard: OpenAI) -> None:
    before = sessions_there(client)
    alone = respond(standard, "Hello.", store=False, instructions="You are a pirate.")
    assert alone.output_text
    with pytest.raises(openai.NotFoundError):
        standard.responses.retrieve(alone.id)
    assert sessions_there(client) == before
    assert refused(standard, previous_response_id=alone.id).code == "previous_response_not_found"
    conversation = standard.conversations.create(items=[{"role": "user", "content": "I am Tom."}])
    first = respond(standard, openai.omit, conversation=conversation.id)
    items = standard.conversations.items.list(conversation.id).data
    behind = respond(standard, "Who am I?", conversation=conversation.id, store=False)
    kept = respond(standard, "Who am I?", conversation=conversation.id)
    assert behind.output_text == kept.output_text
    assert behind.usage is not None
    assert kept.usage is not None
    assert behind.usage.input_tokens == kept.usage.input_tokens
    earlier = respond(standard, "Who am I?", previous_response_id=first.id, store=False)
    assert earlier.output_text == kept.output_text
    assert standard.conversations.items.list(conversation.id).data[2:] == items


def test_a_deleted_response_is_gone_with_its_messages(client: httpx.Client, standard: OpenAI) -> None:
    first = respond(standard, "My dog is called Biscuit.")
    second = respond(standard, "What is it called?", previous_response_id=first.id)
    session_id = session_of(client, first)
    standard.responses.delete(first.id)
    for call in (
        standard.responses.retrieve,
        standard.responses.delete,
        standard.responses.cancel,
        standard.responses.input_items.list,
    ):
        with pytest.raises(openai.NotFoundError):
            call(first.id)
    assert refused(standard, previous_response_id=first.id).param == "previous_response_id"
    third = respond(standard, "Sure?", previous_response_id=second.id)
    assert in_window(client, third) == ["What is it called?", second.output_text, "Sure?"]
    for response in (second, third):
        standard.responses.delete(response.id)
    assert client.get(f"/v1/sessions/{session_id}").status_code == 404


def test_deletions_of_conversations_and_of_items_take_responses_along(standard: OpenAI) -> None:
    conversation = standard.conversations.create()
    responses = [respond(standard, f"Say {n}.", conversation=conversation.id) for n in range(3)]
    standard.responses.delete(responses[0].id)
    assert len(standard.conversations.items.list(conversation.id).data) == 6
    standard.conversations.items.delete(responses[1].output[0].id or "", conversation_id=conversation.id)
    with pytest.raises(openai.NotFoundError):
        standard.responses.retrieve(responses[1].id)
    assert standard.responses.retrieve(responses[2].id).output_text == responses[2].output_text
    standard.conversations.delete(conversation.id)
    with pytest.raises(openai.NotFoundError):
        standard.responses.retrieve(responses[2].id)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"input": 3}, "input"),
    ({"input": []}, "input"),
    ({"input": None}, "input"),
    ({"input": " "}, "input[0].content"),
    ({"input": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}, "input[1].role"),
    ({"input": [{"type": "function_call_output", "call_id": "1", "output": "x"}]}, "input[0].type"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
        "input[0].content",
    ),
    ({"instructions": 3}, "instructions"),
    ({"instructions": "a\0b"}, "instructions"),
    ({"conversation": 3}, "conversation"),
    ({"conversation": {"name": "x"}}, "conversation"),
    ({"previous_response_id": "resp_none"}, "previous_response_id"),
    ({"previous_response_id": "msg_none"}, "previous_response_id"),
    ({"previous_response_id": "resp_none", "store": False}, "previous_response_id"),
    ({"previous_response_id": "resp_1", "conversation": "conv_1"}, "previous_response_id"),
    ({"store": "no"}, "store"),
    ({"truncation": "some"}, "truncation"),
    ({"temperature": 2.5}, "temperature"),
    ({"top_p": "x"}, "top_p"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": 10**30}, "max_output_tokens"),
    ({"metadata": {"x": 1}}, "metadata.x"),
    ({"metadata": {"strategy": "magic"}}, "metadata.strategy"),
    ({"stream": "yes"}, "stream"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"background": True, "store": False}, "background"),
    ({"background": "yes"}, "background"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
    ({"text": {"format": {"type": "json_object"}}}, "text.format"),
]


@pytest.mark.parametrize(("changes", "param"), BAD)
def test_a_bad_request_is_400_names_the_parameter_and_stores_nothing(
    client: httpx.Client, changes: dict[str, Any], param: str
) -> None:
    before = sessions_there(client)
    answer = client.post("/v1/responses", json={"model": CHAT_MODEL, "input": "Hi.", **changes})
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["param"] == param
    assert sessions_there(client) == before


def test_what_the_model_does_not_need_is_ignored_and_null_is_the_default(client: httpx.Client) -> None:
    names = "instructions conversation previous_response_id store truncation temperature metadata text tools"
    ignored = {"tools": [{"type": "function", "name": "f"}], "reasoning": {"effort": "low"}, "new_one": 1}
    body = {"input": "Hi.", "max_output_tokens": 1, **dict.fromkeys(names.split()), **ignored}
    assert client.post("/v1/responses", json=body).json()["status"] == "incomplete"


def test_what_is_not_there_is_404(client: httpx.Client, standard: OpenAI) -> None:
    assert refused(standard, model="gpt-9").code == "model_not_found"
    for store in (True, False):
        assert refused(standard, conversation="conv_none", store=store).status_code == 404
    for path in ("resp_none", "none", "resp_none/input_items"):
        assert client.get(f"/v1/responses/{path}").json()["error"]["code"] == "not_found"
    done = respond(standard, "Hi.", max_output_tokens=1)
    after = client.get(f"/v1/responses/{done.id}/input_items?after=msg_none")
    assert (after.status_code, after.json()["error"]["param"]) == (400, "after")
