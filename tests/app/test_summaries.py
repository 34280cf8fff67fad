"""Summaries over HTTP: made after the reply, entering with a cut, shown and edited."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from app.chat.storing import MessageStore
from app.storage.tables import MessageRow
from memory.fence import fenced
from memory.summaries.extractive import ExtractiveSummariser
from memory.summaries.summariser import Task
from tests.app.service import StartService, until

pytestmark = pytest.mark.stand_in

MEMORY = {
    "strategy": "summary_buffer",
    "token_budget": 300,
    "max_summary_tokens": 120,
    "retention_ratio": 0.5,
}
FACTS = [
    "My sister Hanna moved to Oslo in 2019, and I have missed her ever since.",
    "I keep 14 bees' hives behind the old mill in Gent.",
    "On Sundays I play the cello with Marta.",
    "The rain has not stopped for days, has it?",
    "My dog Bruno is afraid of thunder and hides in the bath.",
    "I have an interview at the Rijksmuseum on the 3rd of May.",
    "What should one wear for such a thing?",
    "I think that I will take the early train, at 6:15.",
]


def say(client: httpx.Client, session_id: str, content: str) -> dict[str, Any]:
    answer = client.post(f"/v1/sessions/{session_id}/messages", json={"content": content, "max_tokens": 16})
    answer.raise_for_status()
    reply: dict[str, Any] = answer.json()
    return reply


def summaries(client: httpx.Client, session_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/v1/sessions/{session_id}/summaries").json()["data"]
    return found


def new_session(client: httpx.Client, memory: dict[str, Any] = MEMORY) -> str:
    session_id: str = client.post("/v1/sessions", json={"memory": memory}).json()["id"]
    return session_id


def imported(client: httpx.Client, memory: dict[str, Any] = MEMORY) -> str:
    """A session in which the facts have been told, and its summary."""
    session_id = new_session(client, memory)
    said = [
        {"role": role, "content": fact if role == "user" else "I see. That must be something."}
        for fact in FACTS
        for role in ("user", "assistant")
    ]
    client.post(f"/v1/sessions/{session_id}/messages/append", json={"messages": said}).raise_for_status()
    until(lambda: [each for each in summaries(client, session_id) if each["in_use"]])
    return session_id


def test_what_left_the_window_is_in_its_summary_word_for_word(client: httpx.Client) -> None:
    session_id = imported(client)
    [summary] = [each for each in summaries(client, session_id) if each["in_use"]]
    assert summary["author"] == "extractive"
    assert summary["tokens"] <= MEMORY["max_summary_tokens"]
    assert FACTS[0] in summary["text"]
    context = client.get(f"/v1/sessions/{session_id}/context").json()
    kinds = [segment["kind"] for segment in context["segments"]]
    assert kinds.index("summary") < kinds.index("turn")
    [segment] = [segment for segment in context["segments"] if segment["kind"] == "summary"]
    assert segment["summary_id"] == summary["id"]
    assert segment["through_turn"] == summary["through_turn"] == min(context["turns"])
    assert fenced(summary["text"]) in segment["messages"][0]["content"]
    assert context["left_out"] == []


def told_of(client: httpx.Client, pause_s: float = 0) -> list[dict[str, Any]]:
    """What was in the window, turn by turn, of a chat that outgrows it more than once."""
    session_id = new_session(client)
    replies = []
    for number in range(14):
        replies.append(say(client, session_id, f"{number}: {FACTS[number % len(FACTS)]}")["message"]["id"])
        time.sleep(pause_s)  # in which upkeep begins
    return [client.get(f"/v1/messages/{reply}/context").json() for reply in replies]


@pytest.fixture(scope="module")
def records(used_client: httpx.Client) -> list[dict[str, Any]]:
    return told_of(used_client)


def test_each_message_is_in_the_window_in_the_summary_or_named_and_the_record_says_so(
    records: list[dict[str, Any]],
) -> None:
    for number, record in enumerate(records):
        told = [segment for segment in record["segments"] if segment["kind"] == "summary"]
        covered = set(range(told[0]["through_turn"])) if told else set()
        named = {t for left in record["left_out"] for t in range(left["first_turn"], left["last_turn"] + 1)}
        assert covered | named | set(record["turns"]) == set(range(number))
        assert not covered & set(record["turns"])
        if told:
            assert told[0]["messages"][0]["content"], "the record shows the text that the model got"
    assert told


def summaries_by_window(records: list[dict[str, Any]]) -> dict[int, set[str | None]]:
    """Which summaries stood in the windows that began with each turn."""
    by_window: dict[int, set[str | None]] = {}
    for record in records:
        told = [segment["summary_id"] for segment in record["segments"] if segment["kind"] == "summary"]
        first_turn = min(record["turns"], default=0)
        by_window.setdefault(first_turn, set()).add(told[0] if told else None)
    return by_window


def test_a_summary_voids_the_prefix_only_with_a_cut(records: list[dict[str, Any]]) -> None:
    by_window = summaries_by_window(records)
    assert len(by_window) > 2
    assert all(len(summaries) == 1 for summaries in by_window.values()), by_window


@pytest.mark.parametrize("turns_late", [2, 3])
def test_a_summary_that_comes_while_a_window_is_chosen_waits_for_the_cut_after(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch, turns_late: int
) -> None:
    chosen = 0
    keep, summarise = MessageStore.keep_question, ExtractiveSummariser.summarise

    async def keep_slowly(*arguments: Any) -> MessageRow:
        nonlocal chosen
        chosen += 1
        await asyncio.sleep(0.1)
        return await keep(*arguments)

    async def summarise_late(summariser: ExtractiveSummariser, task: Task) -> str:
        turn = chosen + turns_late
        for _ in range(200):
            if chosen >= turn:
                break
            await asyncio.sleep(0.01)
        return await summarise(summariser, task)

    monkeypatch.setattr(MessageStore, "keep_question", keep_slowly)
    monkeypatch.setattr(ExtractiveSummariser, "summarise", summarise_late)
    by_window = summaries_by_window(told_of(start_service(), pause_s=0.1))
    assert len(by_window) > 2
    assert all(len(summaries) == 1 for summaries in by_window.values()), by_window


def test_an_edited_summary_is_what_the_model_gets_and_later_ones_go_on_from_it(client: httpx.Client) -> None:
    session_id = imported(client)
    text = "User: My brother Zebulon keeps 77 owls in Reykjavik."
    edited = client.put(f"/v1/sessions/{session_id}/summary", json={"text": text}).json()
    assert (edited["author"], edited["text"], edited["in_use"]) == ("user", text, True)
    context = client.get(f"/v1/sessions/{session_id}/context").json()
    [segment] = [segment for segment in context["segments"] if segment["kind"] == "summary"]
    assert text in segment["messages"][0]["content"]
    for number in range(6):
        say(client, session_id, f"{number}: nothing much to tell today, and tomorrow neither.")
    newer = until(
        lambda: [
            each for each in summaries(client, session_id) if each["through_turn"] > edited["through_turn"]
        ]
    )
    assert "Zebulon" in newer[0]["text"]
    assert edited["id"] in [each["id"] for each in summaries(client, session_id)]


def test_a_summary_that_is_too_large_or_not_there_is_refused(client: httpx.Client) -> None:
    session_id = imported(client)
    path = f"/v1/sessions/{session_id}/summary"
    too_large = client.put(path, json={"text": "word " * 500})
    assert too_large.status_code == 422
    assert too_large.json()["max_summary_tokens"] == MEMORY["max_summary_tokens"]
    assert client.put(path, json={"text": ""}).status_code == 422
    empty = new_session(client)
    assert (
        client.put(f"/v1/sessions/{empty}/summary", json={"text": "Hi."})
        .json()["type"]
        .endswith("no-summary")
    )
    plain = new_session(client, {"strategy": "buffer"})
    assert client.get(f"/v1/sessions/{plain}/summaries").status_code == 409
    assert client.get("/v1/sessions/ses_none/summaries").status_code == 404


def test_the_model_writes_the_summary_where_it_is_asked_to(client: httpx.Client) -> None:
    session_id = imported(client, MEMORY | {"summariser": "llm"})
    [summary] = [each for each in summaries(client, session_id) if each["in_use"]]
    assert summary["author"] in {"smollm2-135m-instruct", "extractive"}, "refused texts are replaced"
    assert summary["text"]


def test_a_session_that_is_switched_to_a_strategy_with_a_summary_gets_one_before_its_next_message(
    client: httpx.Client,
) -> None:
    session_id = imported(client)
    longer = MEMORY | {"max_summary_tokens": 100}
    client.patch(f"/v1/sessions/{session_id}", json={"memory": longer}).raise_for_status()
    assert until(lambda: [each for each in summaries(client, session_id) if each["in_use"]])


def test_what_was_not_summarised_before_a_restart_is_made_up_for(start_service: StartService) -> None:
    client = start_service()
    session_id = imported(client)
    before = summaries(client, session_id)
    for memory in (MEMORY | {"max_summary_tokens": 100}, MEMORY):
        client.patch(f"/v1/sessions/{session_id}", json={"memory": memory})
        say(client, session_id, "And so it goes.")
        until(lambda: summaries(client, session_id))
    assert {each["id"] for each in before} <= {each["id"] for each in summaries(client, session_id)}
