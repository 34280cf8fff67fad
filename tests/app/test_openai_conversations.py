"""Conversations of OpenAI's API are chat sessions: made, read, changed and deleted by its official client."""

import json
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.app.service import open_stream, until

pytestmark = pytest.mark.stand_in


@pytest.fixture(scope="module")
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


def said(*contents: str) -> Any:
    """Items of the user and the assistant in turns."""
    roles = ("user", "assistant")
    return [{"role": roles[place % 2], "content": each} for place, each in enumerate(contents)]


def texts(items: Any) -> list[str]:
    return [item.content[0].text for item in items]


def native(conversation_id: str) -> str:
    return f"/v1/sessions/ses_{conversation_id.removeprefix('conv_')}"


def test_a_conversation_is_a_session_with_the_items_and_the_metadata_that_it_was_made_with(
    client: httpx.Client, standard: OpenAI
) -> None:
    made = standard.conversations.create(
        items=[
            {"type": "message", "role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "Hello there."}]},
            {"role": "assistant", "content": "Hi."},
        ],
        metadata={"topic": "demo"},
    )
    assert made.id.startswith("conv_")
    assert (made.object, made.metadata) == ("conversation", {"topic": "demo"})
    assert standard.conversations.retrieve(made.id) == made
    items: list[Any] = standard.conversations.items.list(made.id, order="asc").data
    assert [(item.type, item.role) for item in items] == [
        ("message", "system"),
        ("message", "user"),
        ("message", "assistant"),
    ]
    assert texts(items) == ["Be brief.", "Hello there.", "Hi."]
    assert [item.content[0].type for item in items] == ["input_text", "input_text", "output_text"]
    messages = client.get(f"{native(made.id)}/messages").json()["data"]
    assert [message["id"] for message in messages] == [item.id for item in items]
    empty = standard.conversations.create()
    assert empty.metadata == {}
    listed = standard.conversations.items.list(empty.id)
    assert (listed.data, listed.has_more) == ([], False)
    assert client.post("/v1/conversations").status_code == 200


def test_a_session_of_the_native_api_is_a_conversation(client: httpx.Client, standard: OpenAI) -> None:
    session_id = client.post("/v1/sessions", json={}).json()["id"]
    messages = [{"role": "user", "content": "Hello."}]
    client.post(f"/v1/sessions/{session_id}/messages/append", json={"messages": messages})
    conversation_id = f"conv_{session_id.removeprefix('ses_')}"
    assert standard.conversations.retrieve(conversation_id).metadata == {}
    assert texts(standard.conversations.items.list(conversation_id)) == ["Hello."]


def test_metadata_name_strategy_persona_and_user(client: httpx.Client, standard: OpenAI) -> None:
    persona = {"name": "Pippa", "instructions": "You are Pippa.", "greeting": "Ahoy!"}
    persona_id = client.post("/v1/personas", json=persona).json()["id"]
    metadata = {"strategy": "token_buffer", "persona": persona_id, "user": "tom"}
    made = standard.conversations.create(metadata=metadata, items=said("Hello."))
    session = client.get(native(made.id)).json()
    assert session["memory"]["strategy"] == "token_buffer"
    assert (session["persona_id"], session["user_id"]) == (persona_id, "tom")
    assert texts(standard.conversations.items.list(made.id, order="asc")) == ["Ahoy!", "Hello."]
    memory = {"strategy": "sliding_window", "turns": 3}
    changed = standard.conversations.update(made.id, metadata={"strategy": json.dumps(memory), "x": "y"})
    assert changed.metadata == {"strategy": json.dumps(memory), "x": "y"}
    session = client.get(native(made.id)).json()
    assert (session["memory"]["strategy"], session["memory"]["turns"]) == ("sliding_window", 3)
    assert (session["persona_id"], session["user_id"]) == (persona_id, "tom")
    assert standard.conversations.update(made.id, metadata=None).metadata == {}


def test_items_are_listed_page_by_page_in_either_order(standard: OpenAI) -> None:
    words = [f"Number {number}." for number in range(5)]
    made = standard.conversations.create(items=said(*words))
    newest: Any = standard.conversations.items.list(made.id, limit=2)
    assert texts(newest.data) == words[:2:-1]
    assert (newest.first_id, newest.last_id, newest.has_more) == (newest.data[0].id, newest.data[1].id, True)
    assert texts(standard.conversations.items.list(made.id, limit=2)) == words[::-1]  # of all pages
    assert texts(standard.conversations.items.list(made.id, limit=2, order="asc")) == words
    last = standard.conversations.items.list(made.id, limit=5, order="asc", after=newest.data[1].id)
    assert (texts(last.data), last.has_more) == ([words[4]], False)


def test_items_are_added_read_and_deleted(standard: OpenAI) -> None:
    made = standard.conversations.create(items=said("One.", "Two."))
    added = standard.conversations.items.create(made.id, items=said("Three.", "Four."))
    assert texts(added.data) == ["Three.", "Four."]
    item = standard.conversations.items.retrieve(added.data[1].id or "", conversation_id=made.id)
    assert texts([item]) == ["Four."]
    assert standard.conversations.items.delete(item.id or "", conversation_id=made.id).id == made.id
    assert texts(standard.conversations.items.list(made.id, order="asc")) == ["One.", "Two.", "Three."]
    with pytest.raises(openai.NotFoundError):
        standard.conversations.items.delete(item.id or "", conversation_id=made.id)
    first = standard.conversations.items.list(made.id, order="asc").data[0]
    standard.conversations.items.delete(
        first.id or "", conversation_id=made.id
    )  # and with it the reply to it
    assert texts(standard.conversations.items.list(made.id)) == ["Three."]
    other = standard.conversations.create()
    with pytest.raises(openai.NotFoundError):
        standard.conversations.items.retrieve(added.data[0].id or "", conversation_id=other.id)


def test_a_deleted_conversation_is_gone(client: httpx.Client, standard: OpenAI) -> None:
    made = standard.conversations.create(items=said("Forget this."))
    gone = standard.conversations.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "conversation.deleted", True)
    for call in (
        standard.conversations.retrieve,
        standard.conversations.delete,
        standard.conversations.items.list,
    ):
        with pytest.raises(openai.NotFoundError) as error:
            call(made.id)
        assert error.value.code == "not_found"
    assert client.get(native(made.id)).status_code == 404


BAD: list[tuple[Any, str]] = [
    ({"items": 3}, "items"),
    ({"items": said(*["x"] * 21)}, "items"),
    ({"items": [{"role": "tool", "content": "x"}]}, "items[0].role"),
    ({"items": [{"role": "user", "content": " "}]}, "items[0].content"),
    ({"items": [{"role": "user", "content": [{"type": "input_image"}]}]}, "items[0].content"),
    ({"items": [{"type": "item_reference", "id": "msg_1"}]}, "items[0].type"),
    ({"metadata": {"x": 3}}, "metadata.x"),
    ({"metadata": {"x": "y" * 513}}, "metadata.x"),
    ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
    ({"metadata": {"strategy": "magic"}}, "metadata.strategy"),
    ({"metadata": {"strategy": "{"}}, "metadata.strategy"),
    ({"metadata": {"strategy": '{"strategy": "sliding_window", "turns": "x"}'}}, "metadata.strategy"),
    ({"metadata": {"persona": "per_none"}}, "metadata.persona"),
    ({"metadata": {"user": ""}}, "metadata.user"),
]


@pytest.mark.parametrize(("body", "param"), BAD)
def test_a_bad_conversation_is_refused_and_names_the_parameter(
    client: httpx.Client, body: Any, param: str
) -> None:
    answer = client.post("/v1/conversations", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_bad_changes_are_refused_and_change_nothing(client: httpx.Client, standard: OpenAI) -> None:
    made = standard.conversations.create(metadata={"user": "tom"}, items=said("Hello."))
    path = f"/v1/conversations/{made.id}"
    for body, param in (
        ({}, "metadata"),
        ({"metadata": {"user": "ann"}}, "metadata.user"),
        ({"metadata": {"persona": "per_none"}}, "metadata.persona"),
    ):
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert standard.conversations.retrieve(made.id) == made
    for query, param in (
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("order=up", "order"),
        ("after=x", "after"),
    ):
        answer = client.get(f"{path}/items?{query}")
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    refused = client.post(f"{path}/items", json={"items": [*said("Good."), {"role": "user", "content": ""}]})
    assert refused.json()["error"]["param"] == "items[1].content"
    assert texts(standard.conversations.items.list(made.id)) == ["Hello."]
    assert client.post(f"{path}/items", json={"items": []}).status_code == 400
    assert client.get("/v1/conversations/ses_1").status_code == 404


def test_a_conversation_that_is_being_answered_takes_no_items(client: httpx.Client, standard: OpenAI) -> None:
    made = standard.conversations.create()
    session_id = native(made.id).rsplit("/", 1)[1]
    with open_stream(client, session_id, content="Tell me a story.", max_tokens=30) as stream:
        next(stream)
        with pytest.raises(openai.ConflictError) as busy:
            standard.conversations.items.create(made.id, items=said("Hello?"))
        assert busy.value.code == "session_busy"
        list(stream)
    assert len(standard.conversations.items.list(made.id).data) == 2


@pytest.mark.parametrize("is_changed", [False, True], ids=["made with it", "changed to it"])
def test_what_a_strategy_derives_of_the_items_is_made_before_the_next_response(
    client: httpx.Client, standard: OpenAI, *, is_changed: bool
) -> None:
    strategy = {"strategy": json.dumps({"strategy": "summary", "max_summary_tokens": 64})}
    items = said("My sister lives in Ghent.", "How nice.", "She has two dogs there.", "Lovely.")
    made = standard.conversations.create(items=items, metadata={} if is_changed else strategy)
    if is_changed:
        standard.conversations.update(made.id, metadata=strategy)
    until(lambda: client.get(f"{native(made.id)}/summaries").json()["data"])
