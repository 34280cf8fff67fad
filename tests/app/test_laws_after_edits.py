"""The laws of a context hold after whatever is done to a chat's history, at once and when all is indexed."""

import random
from typing import Any

import httpx
import pytest

from tests.app.test_recalled import FACT, FILLER, new_session, preview, settled, tell

pytestmark = pytest.mark.stand_in

Json = dict[str, Any]

ORDER = ["persona", "pinned", "facts", "summary", "turn", "recalled", "message", "generation_prompt"]
SUMMARISED = {"max_summary_tokens": 64, "retention_ratio": 0.5}
MEMORIES = [
    {"strategy": "summary_buffer", "token_budget": 260, **SUMMARISED},
    {"strategy": "vector", "token_budget": 200, "recall_tokens": 128, "scope": "chat"},
    {"strategy": "combined", "token_budget": 460, "scope": "user"},
]
QUESTION = "What of the rabbit, and what of the weather?"


@pytest.fixture
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


def active(client: httpx.Client, session_id: str) -> list[Json]:
    messages: list[Json] = client.get(f"/v1/sessions/{session_id}/messages", params={"limit": 100}).json()[
        "data"
    ]
    return messages


def check(client: httpx.Client, session_id: str, context: Json) -> None:
    by_id = {message["id"]: message for message in active(client, session_id)}
    excluded = {message["turn"] for message in by_id.values() if message["excluded"]}
    assert context["prompt_tokens"] + context["reply_tokens"] <= context["context_window"]
    kinds = [segment["kind"] for segment in context["segments"]]
    assert kinds == sorted(kinds, key=ORDER.index)

    held = []
    for segment in context["segments"]:
        if segment["kind"] in ("turn", "pinned"):
            of_turn = [each["id"] for each in by_id.values() if each["turn"] == segment["turn"]]
            assert segment["message_ids"] == of_turn, "turns are whole"
            held += of_turn
    turns = [by_id[each]["turn"] for each in held]
    assert len(held) == len(set(held))
    assert not set(turns) & excluded

    told = {t for segment in context["segments"] for t in range(segment["through_turn"] or 0)}
    named = {t for left in context["left_out"] for t in range(left["first_turn"], left["last_turn"] + 1)}
    assert told | named | set(turns) == {message["turn"] for message in by_id.values()}
    assert not named & set(turns)

    for segment in context["segments"]:
        for passage in segment["passages"]:
            here = passage["source"] == session_id
            there = by_id if here else {each["id"] for each in active(client, passage["source"])}
            assert passage["message_id"] in there, "nothing that has left its chat is recalled"
            assert passage["message_id"] not in held
            assert not (here and passage["turn"] in excluded)


def change(client: httpx.Client, session_id: str, choice: random.Random, number: int) -> str:
    """Do something to a message of the chat; the session that goes on."""
    messages = active(client, session_id)
    path = f"/v1/messages/{choice.choice(messages)['id']}"
    text = f"{number}: the rabbit Bertil ate a carrot, whatever was said of it before."
    match number % 6:
        case 0:
            client.put(path, json={"content": text, "keep_following": True}).raise_for_status()
        case 1:
            client.put(f"{path}/pin").raise_for_status()
        case 2:
            client.put(f"{path}/exclude").raise_for_status()
        case 3:
            body = {"message_id": messages[-3]["id"]}
            return str(client.post(f"/v1/sessions/{session_id}/branch", json=body).json()["id"])
        case 4:
            late = {"from_message_id": messages[-5]["id"]}
            client.post(f"/v1/sessions/{session_id}/forget", json=late).raise_for_status()
        case _:
            client.put(f"/v1/messages/{messages[-4]['id']}", json={"content": text}).raise_for_status()
            tell(client, session_id, f"{number}: {FACT}", FILLER, FILLER)
    return session_id


@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: memory["strategy"])
def test_every_message_has_its_place_after_any_change_of_the_history(
    client: httpx.Client, memory: Json
) -> None:
    session_id = new_session(client, memory, user_id=f"edits-{memory['strategy']}")
    tell(client, session_id, FACT, *(f"{number}. {FILLER}" for number in range(13)))
    choice = random.Random(7)
    recalls = preview(client, session_id, QUESTION)["recall"] is not None
    for number in range(6):
        session_id = change(client, session_id, choice, number)
        check(client, session_id, preview(client, session_id, QUESTION))
        if recalls and number in (0, 5):
            check(client, session_id, settled(client, session_id, QUESTION))
