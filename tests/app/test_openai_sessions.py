"""Chat completions that belong to a chat session: its memory makes the window, and what is said is stored."""

from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.app.service import open_stream
from tests.app.standard import CHAT_MODEL

pytestmark = pytest.mark.stand_in


@pytest.fixture
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


@pytest.fixture(params=["header", "metadata"])
def bound(request: pytest.FixtureRequest, session_id: str) -> dict[str, Any]:
    """The two ways to say which session it is."""
    if request.param == "header":
        return {"extra_headers": {"X-Perdure-Session": session_id}}
    return {"metadata": {"session_id": session_id, "of": "the client"}}


def stored(client: httpx.Client, session_id: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = client.get(f"/v1/sessions/{session_id}/messages").json()["data"]
    return messages


def test_only_the_last_message_is_said_and_the_reply_is_stored(
    client: httpx.Client, standard: OpenAI, session_id: str, bound: dict[str, Any]
) -> None:
    first = standard.chat.completions.create(
        model=CHAT_MODEL,
        messages=[{"role": "user", "content": "My dog is called Biscuit."}],
        max_tokens=12,
        temperature=0,
        **bound,
    )
    second = standard.chat.completions.create(
        model=CHAT_MODEL,
        messages=[
            {"role": "system", "content": "The client's own idea of a persona."},
            {"role": "user", "content": "Something that was never said here."},
            {"role": "assistant", "content": "Nor was this."},
            {"role": "user", "content": "What is my dog called?"},
        ],
        max_tokens=12,
        temperature=0,
        **bound,
    )
    said = stored(client, session_id)
    assert [message["content"] for message in said] == [
        "My dog is called Biscuit.",
        first.choices[0].message.content,
        "What is my dog called?",
        second.choices[0].message.content,
    ]
    assert [message["id"] for message in said[1::2]] == [first.id, second.id]
    context = client.get(f"/v1/messages/{second.id}/context").json()
    assert second.usage is not None
    assert context["prompt_tokens"] == second.usage.prompt_tokens
    assert second.usage.prompt_tokens_details is not None
    assert (second.usage.prompt_tokens_details.cached_tokens or 0) > 12
    assert said[3]["usage"]["completion_tokens"] == second.usage.completion_tokens


def test_a_stream_of_a_session_ends_with_the_stored_reply(
    client: httpx.Client, standard: OpenAI, session_id: str, bound: dict[str, Any]
) -> None:
    chunks = list(
        standard.chat.completions.create(
            model=CHAT_MODEL,
            messages=[{"role": "user", "content": "Tell me a short story."}],
            max_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
            logprobs=True,
            **bound,
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == stored(client, session_id)[1]["content"]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 12
    scored = [chunk.choices[0].logprobs for chunk in chunks[:-1]]
    assert sum(len(each.content or []) for each in scored if each) == 12


def test_the_persona_and_the_strategy_of_the_session_make_the_window(
    client: httpx.Client, standard: OpenAI
) -> None:
    persona = client.post(
        "/v1/personas", json={"name": "Pippa", "instructions": "You are Pippa, a cheerful pirate."}
    ).json()
    session_id = client.post(
        "/v1/sessions",
        json={"persona_id": persona["id"], "memory": {"strategy": "sliding_window", "turns": 1}},
    ).json()["id"]
    for question in ("Who are you?", "And your ship?", "And your friends?"):
        reply = standard.chat.completions.create(
            model=CHAT_MODEL,
            messages=[{"role": "user", "content": question}],
            max_tokens=8,
            metadata={"session_id": session_id},
        )
    context = client.get(f"/v1/messages/{reply.id}/context").json()
    assert context["strategy"]["strategy"] == "sliding_window"
    kinds = [segment["kind"] for segment in context["segments"]]
    assert kinds[0] == "persona"


def test_a_message_that_only_instructs_is_answered_with_a_notice(
    client: httpx.Client, standard: OpenAI
) -> None:
    session_id = client.post("/v1/sessions", json={"prefixes": True}).json()["id"]
    reply = standard.chat.completions.create(
        model=CHAT_MODEL,
        messages=[{"role": "user", "content": "ci: Speak like a sailor."}],
        metadata={"session_id": session_id},
    )
    assert "From the next turn on" in (reply.choices[0].message.content or "")
    assert stored(client, session_id) == []
    assert client.get(f"/v1/sessions/{session_id}").json()["instructions"] == "Speak like a sailor."


def test_a_client_that_goes_away_ends_the_turn_and_what_was_said_is_kept(
    client: httpx.Client, standard: OpenAI, session_id: str, bound: dict[str, Any]
) -> None:
    with standard.chat.completions.create(
        model=CHAT_MODEL,
        messages=[{"role": "user", "content": "Write a very long story about a whale, with many chapters."}],
        max_tokens=4000,
        temperature=0,
        stream=True,
        **bound,
    ) as stream:
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
    answer = client.post(
        f"/v1/sessions/{session_id}/messages", json={"content": "Stop.", "max_tokens": 2, "if_busy": "wait"}
    )
    assert answer.status_code == 200
    assert stored(client, session_id)[1]["status"] == "interrupted"


def test_what_a_session_cannot_take_is_refused_and_not_stored(
    client: httpx.Client, standard: OpenAI, session_id: str
) -> None:
    def refused(**changes: Any) -> openai.APIStatusError:
        asked: dict[str, Any] = {
            "model": CHAT_MODEL,
            "messages": [{"role": "user", "content": "Hi"}],
            "metadata": {"session_id": session_id},
        }
        with pytest.raises(openai.APIStatusError) as error:
            standard.chat.completions.create(**{**asked, **changes})
        return error.value

    several = refused(n=2)
    assert (several.status_code, several.param) == (400, "n")
    assistant = refused(messages=[{"role": "assistant", "content": "Hi"}])
    assert (assistant.status_code, assistant.param) == (400, "messages[0].role")
    blank = refused(messages=[{"role": "user", "content": " "}])
    assert (blank.status_code, blank.param) == (400, "messages[0].content")
    two = refused(extra_headers={"X-Perdure-Session": "ses_another"})
    assert (two.status_code, two.param) == (400, "metadata.session_id")
    unknown = refused(metadata={"session_id": "ses_none"})
    assert (unknown.status_code, unknown.code) == (404, "not_found")
    too_long = refused(messages=[{"role": "user", "content": "word " * 9000}])
    assert (too_long.status_code, too_long.code) == (400, "context_length_exceeded")
    with open_stream(client, session_id, content="Tell me a story.", max_tokens=30) as stream:
        next(stream)
        busy = refused()
        assert (busy.status_code, busy.code) == (409, "session_busy")
        list(stream)
    assert [message["content"] for message in stored(client, session_id)][::2] == ["Tell me a story."]
