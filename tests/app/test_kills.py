"""A service that is killed while it reads a prompt or brings a chat up to date: what is left of that."""

import signal
from pathlib import Path
from typing import Any

import httpx

from tests.app.processes import service_process
from tests.app.service import StartService, open_stream, until

Json = dict[str, Any]
TURNS = 80
MEMORY = {"strategy": "combined", "token_budget": 600, "extractor": "rules", "summariser": "extractive"}
TOWNS = ("Oslo", "Gent", "Porto", "Lund", "Graz", "Pisa", "Brno", "Cork")


def said(turns: int) -> list[Json]:
    """A chat that tells facts, one of them newer and newer."""
    told = [
        (f"In May I moved to {TOWNS[turn % 8]}. I like song number {turn}.", "Good.") for turn in range(turns)
    ]
    return [
        {"role": role, "content": content}
        for exchange in told
        for role, content in zip(("user", "assistant"), exchange, strict=True)
    ]


def new_chat(client: httpx.Client, turns: int, memory: Json) -> str:
    session_id = str(client.post("/v1/sessions", json={"memory": memory}).json()["id"])
    appended = client.post(f"/v1/sessions/{session_id}/messages/append", json={"messages": said(turns)})
    assert appended.is_success, appended.text
    return session_id


def test_a_service_killed_while_it_reads_a_prompt_keeps_the_message_once_and_can_reply(
    tmp_path: Path, start_service: StartService
) -> None:
    with service_process(tmp_path) as (process, client):
        session_id = new_chat(client, 90, {"strategy": "buffer"})
        with open_stream(client, session_id, content="And where do I live?") as stream:
            event, data = next(stream)
            assert event == "started"
            process.send_signal(signal.SIGKILL)
            process.wait()
    client = start_service(home=tmp_path)
    stored = client.get(f"/v1/sessions/{session_id}/messages", params={"limit": 200}).json()["data"]
    assert [message["content"] for message in stored[:-1]] == [message["content"] for message in said(90)]
    assert stored[-1] == data["user_message"]
    answer = client.post(f"/v1/sessions/{session_id}/reply", json={"max_tokens": 1})
    assert answer.is_success, answer.text
    assert answer.json()["user_message"]["id"] == stored[-1]["id"]


def behind(client: httpx.Client) -> list[str]:
    names = ("perdure_upkeep_waiting_sessions ", "perdure_facts_behind", "perdure_recall_behind")
    return [line for line in client.get("/metrics").text.splitlines() if line.startswith(names)]


def derived(client: httpx.Client, session_id: str) -> Json:
    """What has been made of a chat, when there is nothing left to make: without ids, and in order."""
    until(lambda: behind(client), lambda lines: all(line.endswith(" 0.0") for line in lines))
    path = f"/v1/sessions/{session_id}"
    summaries = client.get(f"{path}/summaries").json()["data"]
    facts = client.get(f"{path}/facts", params={"include_superseded": True}).json()["data"]
    search = {"query": "Which song do I like?", "session_id": session_id, "limit": 100}
    found = client.post("/v1/search", json=search).json()
    assert not found["degraded"]
    return {
        "summaries": [(each["through_turn"], each["text"]) for each in summaries],
        "facts": sorted((each["key"], each["value"], each["quote"]) for each in facts),
        "found": sorted((each["turn"], each["role"], each["text"]) for each in found["data"]),
    }


def test_what_is_made_of_a_chat_is_the_same_whether_or_not_the_service_was_killed_at_it(
    tmp_path: Path, start_service: StartService
) -> None:
    with service_process(tmp_path) as (process, client):
        killed = new_chat(client, TURNS, MEMORY)
        until(lambda: client.get(f"/v1/sessions/{killed}/summaries").json()["data"])
        process.send_signal(signal.SIGKILL)
        process.wait()
    client = start_service(home=tmp_path)
    left = derived(client, killed)
    unharmed = derived(client, new_chat(client, TURNS, MEMORY))
    assert left["summaries"]
    assert left["facts"]
    assert len(left["found"]) == 100
    assert left == unharmed
