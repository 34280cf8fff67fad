"""What was said before comes back into the context: to whom it was said, and to nobody else."""

from typing import Any

import httpx
import pytest

from app.recall.service import Recall
from tests.app.service import until
from tests.app.test_next_window import let_it_prepare

pytestmark = pytest.mark.stand_in

Json = dict[str, Any]

FACT = "My rabbit is called Bertil and he sleeps under the cellar stairs."
QUESTION = "What is my rabbit called, and where does he sleep?"
FILLER = "The weather has been grey and cold for days, and nobody goes out much."
MEMORIES = [
    {"strategy": "vector", "token_budget": 300, "recall_tokens": 200},
    {"strategy": "combined", "token_budget": 600},
]


@pytest.fixture
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


@pytest.fixture
def persona_id(client: httpx.Client) -> str:
    return new_persona(client, "Pippa")


def new_persona(client: httpx.Client, name: str) -> str:
    made = client.post("/v1/personas", json={"name": name, "instructions": f"You are {name}."})
    return str(made.json()["id"])


def new_session(client: httpx.Client, memory: Json, **settings: Any) -> str:
    made = client.post("/v1/sessions", json={"memory": memory, **settings})
    made.raise_for_status()
    return str(made.json()["id"])


def tell(client: httpx.Client, session_id: str, *said: str) -> list[Json]:
    messages = [
        {"role": role, "content": content}
        for fact in said
        for role, content in (("user", fact), ("assistant", "I see, how nice."))
    ]
    answer = client.post(f"/v1/sessions/{session_id}/messages/append", json={"messages": messages})
    answer.raise_for_status()
    told: list[Json] = answer.json()["data"]
    return told


def preview(client: httpx.Client, session_id: str, content: str = QUESTION) -> Json:
    context: Json = client.get(f"/v1/sessions/{session_id}/context", params={"content": content}).json()
    return context


def settled(client: httpx.Client, session_id: str, content: str = QUESTION) -> Json:
    """The preview when all that was said is indexed."""

    def indexed() -> Json | None:
        context = preview(client, session_id, content)
        return context if context["recall"]["behind"] == 0 and not context["recall"]["degraded"] else None

    found: Json = until(indexed)
    return found


def recalled(context: Json) -> list[str]:
    return [
        message["content"]
        for segment in context["segments"]
        if segment["kind"] == "recalled"
        for message in segment["messages"]
    ]


@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: memory["strategy"])
def test_a_fact_told_in_an_earlier_chat_is_in_a_new_ones_context_and_in_nobody_elses(
    client: httpx.Client, persona_id: str, memory: Json
) -> None:
    ann = f"ann-{memory['strategy']}"
    earlier = new_session(client, {"strategy": "buffer"}, user_id=ann, persona_id=persona_id)
    fact = tell(client, earlier, FACT, FILLER)[0]
    new = new_session(client, memory, user_id=ann, persona_id=persona_id)
    context = settled(client, new)
    [text] = recalled(context)
    assert FACT in text
    kinds = [segment["kind"] for segment in context["segments"]]
    assert kinds[-3:] == ["recalled", "message", "generation_prompt"]
    [passage] = [
        passage for passage in context["segments"][-3]["passages"] if passage["message_id"] == fact["id"]
    ]
    assert passage["source"] == earlier
    assert passage["tokens"] > 0
    assert passage["why"]

    answer = client.post(f"/v1/sessions/{new}/messages", json={"content": QUESTION, "max_tokens": 8})
    record = client.get(f"/v1/messages/{answer.json()['message']['id']}/context").json()
    assert recalled(record) == [text], "the record says what the model got"
    assert record["recall"] == {"scope": "persona", "behind": 0, "degraded": None}

    other = new_persona(client, "Gerd")
    for settings in (
        {"user_id": f"bob-{memory['strategy']}", "persona_id": persona_id},
        {"user_id": ann, "persona_id": other},
        {"user_id": ann},
        {"persona_id": persona_id},
        {},
    ):
        assert recalled(settled(client, new_session(client, memory, **settings))) == [], settings
    everywhere = memory | {"scope": "user"}
    assert FACT in recalled(settled(client, new_session(client, everywhere, user_id=ann)))[0]


def test_what_has_left_the_window_comes_back_and_what_stands_there_is_not_told_twice(
    client: httpx.Client,
) -> None:
    session_id = new_session(client, {"strategy": "vector", "token_budget": 250, "scope": "chat"})
    tell(client, session_id, FACT, *(f"{number}. {FILLER}" for number in range(8)))
    context = settled(client, session_id)
    assert 0 not in context["turns"]
    assert FACT in recalled(context)[0]
    held = {each for segment in context["segments"] for each in segment["message_ids"]}
    told = {p["message_id"] for segment in context["segments"] for p in segment["passages"]}
    assert told
    assert not told & held
    client.patch(f"/v1/sessions/{session_id}", json={"memory": {"strategy": "buffer"}})
    assert preview(client, session_id)["recall"] is None
    client.patch(f"/v1/sessions/{session_id}", json={"memory": MEMORIES[1] | {"token_budget": 400}})
    assert FACT in recalled(settled(client, session_id))[0], "and so it is after a switch"


def test_a_preview_without_a_message_recalls_nothing(client: httpx.Client) -> None:
    session_id = new_session(client, MEMORIES[0])
    tell(client, session_id, FACT)
    context = client.get(f"/v1/sessions/{session_id}/context").json()
    assert context["recall"] is None
    assert recalled(context) == []


def test_a_regenerated_reply_recalls_neither_its_question_nor_what_came_after(client: httpx.Client) -> None:
    session_id = new_session(client, {"strategy": "vector", "token_budget": 250, "scope": "chat"})
    tell(client, session_id, FACT)
    asked = client.post(f"/v1/sessions/{session_id}/messages", json={"content": QUESTION, "max_tokens": 8})
    later = "My rabbit is called Bertil, as I said, and he sleeps all day long."
    tell(client, session_id, later, *(f"{number}. {FILLER}" for number in range(8)))
    settled(client, session_id)
    reply_id = asked.json()["message"]["id"]
    again = client.post(f"/v1/messages/{reply_id}/regenerate", json={"max_tokens": 8})
    again.raise_for_status()
    record = client.get(f"/v1/messages/{again.json()['message']['id']}/context").json()
    turns = [p["turn"] for segment in record["segments"] for p in segment["passages"]]
    assert record["recall"] is not None
    assert all(turn < 1 for turn in turns)


def test_what_is_forgotten_is_gone_from_the_records_of_other_chats(
    client: httpx.Client, persona_id: str
) -> None:
    settings = {"user_id": "eve", "persona_id": persona_id}
    earlier = new_session(client, {"strategy": "buffer"}, **settings)
    fact = tell(client, earlier, FACT)[0]
    new = new_session(client, MEMORIES[0], **settings)
    settled(client, new)
    answer = client.post(f"/v1/sessions/{new}/messages", json={"content": QUESTION, "max_tokens": 4}).json()
    path = f"/v1/messages/{answer['message']['id']}/context"
    assert FACT in recalled(client.get(path).json())[0]
    forgotten = client.post(f"/v1/sessions/{earlier}/forget", json={"from_message_id": fact["id"]})
    forgotten.raise_for_status()
    assert FACT not in recalled(client.get(path).json())[0]
    assert recalled(settled(client, new_session(client, MEMORIES[0], **settings))) != [FACT]


def test_a_search_that_fails_costs_the_reply_nothing_but_what_it_would_have_found(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise OSError("the index is gone")

    session_id = new_session(client, MEMORIES[0])
    monkeypatch.setattr(Recall, "of_session", fail)
    answer = client.post(f"/v1/sessions/{session_id}/messages", json={"content": "Hello", "max_tokens": 4})
    answer.raise_for_status()
    record = client.get(f"/v1/messages/{answer.json()['message']['id']}/context").json()
    assert "failed" in record["recall"]["degraded"]


def test_only_the_last_turn_is_computed_again_behind_what_was_recalled(client: httpx.Client) -> None:
    session_id = new_session(
        client, {"strategy": "vector", "token_budget": 2000, "scope": "chat"}, user_id="kim"
    )
    tell(client, session_id, FACT, *(f"{number}. {FILLER}" for number in range(6)))
    for number in range(3):
        let_it_prepare(client, session_id)
        body = {"content": f"Number {number}: {QUESTION}", "max_tokens": 4}
        reply = client.post(f"/v1/sessions/{session_id}/messages", json=body).json()
        record = client.get(f"/v1/messages/{reply['message']['id']}/context").json()
        before = 0
        for segment in record["segments"]:
            if segment["kind"] in ("recalled", "message"):
                break
            before += segment["tokens"]
        assert before - 16 < record["cached_tokens"] <= before + 16
