"""When the window moves, its new beginning is computed after the reply, not when the next message comes."""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.app.keys import new_key, with_key
from tests.app.service import StartService
from tests.app.test_metrics import scrape

pytestmark = pytest.mark.stand_in

MEMORY = {"strategy": "sliding_window", "turns": 2, "retention_ratio": 0.5}
WORDS = "The sea was grey that morning, and nobody on the quay spoke a word about the ship that had left."


def send(client: httpx.Client, session_id: str, content: str) -> dict[str, int]:
    answer = client.post(f"/v1/sessions/{session_id}/messages", json={"content": content, "max_tokens": 4})
    usage = answer.json()["usage"]
    return {"prompt": usage["prompt_tokens"], "cached": usage["prompt_tokens_details"]["cached_tokens"]}


def let_it_prepare(client: httpx.Client, session_id: str) -> None:
    """Until all but the end of the next context is cached, or for as long as that should take."""
    for _ in range(200):
        context = client.get(f"/v1/sessions/{session_id}/context").json()
        if context["prompt_tokens"] - context["cached_tokens"] < 16:
            return
        time.sleep(0.05)
    raise AssertionError("the next window was not prepared")


def test_a_moved_window_is_cached_when_the_next_message_comes(client: httpx.Client) -> None:
    session_id = client.post("/v1/sessions", json={"memory": MEMORY}).json()["id"]
    message_tokens = 40
    for turn in range(7):
        usage = send(client, session_id, f"{turn}. {WORDS}")
        if turn:
            assert usage["prompt"] - usage["cached"] < message_tokens
        let_it_prepare(client, session_id)


def test_a_moved_window_behind_a_held_persona_with_examples_is_cached_too(
    start_service: StartService, tmp_path: Path
) -> None:
    client = start_service(home=tmp_path / "home", persona_share=0.5)
    examples = [{"user": "How are you?", "assistant": f"Aye! {WORDS}"}]
    told = {"name": "Pippa", "instructions": "You are Pippa, who sails.", "examples": examples}
    persona_id = client.post("/v1/personas", json=told).json()["id"]
    made = {"memory": MEMORY, "persona_id": persona_id}
    session_id = client.post("/v1/sessions", json=made).json()["id"]
    for turn in range(5):
        usage = send(client, session_id, f"{turn}. {WORDS}")
        if turn:
            assert usage["prompt"] - usage["cached"] < 40
        let_it_prepare(client, session_id)


def test_the_window_after_a_cut_is_prepared_a_turn_at_a_time_before_it(client: httpx.Client) -> None:
    memory = {"strategy": "sliding_window", "turns": 6, "retention_ratio": 0.5}
    session_id = client.post("/v1/sessions", json={"memory": memory}).json()["id"]
    prepared = [0.0]
    cuts = 0
    for turn in range(22):
        send(client, session_id, f"{turn}. {WORDS}")
        let_it_prepare(client, session_id)
        prepared.append(settled(lambda: scrape(client)["perdure_prepared_tokens_total"]))
        context = client.get(f"/v1/sessions/{session_id}/context").json()
        cuts += len([segment for segment in context["segments"] if segment["kind"] == "turn"]) == 6
    at_once = [after - before for before, after in pairwise(prepared[8:])]
    turn_tokens = (context["prompt_tokens"]) / len(context["segments"])
    assert cuts >= 2
    assert 0 < max(at_once) < 3 * turn_tokens


def settled(value: Callable[[], float]) -> float:
    """What it is when it no longer changes."""
    last = value()
    while True:
        time.sleep(0.3)
        if (now := value()) == last:
            return now
        last = now


def test_imported_turns_are_cached_when_the_first_message_comes(client: httpx.Client) -> None:
    session_id = client.post("/v1/sessions", json={}).json()["id"]
    said = [{"role": role, "content": WORDS} for _ in range(8) for role in ("user", "assistant")]
    client.post(f"/v1/sessions/{session_id}/messages/append", json={"messages": said})
    let_it_prepare(client, session_id)
    usage = send(client, session_id, "Where did it go?")
    assert usage["cached"] > 8 * 2 * 15


def test_a_stranger_who_knows_a_session_does_not_stop_its_preparation(
    start_service: StartService, tmp_path: Path
) -> None:
    public = start_service(home=tmp_path / "home", require_key=True)
    secrets = (new_key(tmp_path / "home", "--tenant", name) for name in ("owner", "stranger"))
    owner, stranger = (with_key(public, secret) for secret in secrets)
    session_id = owner.post("/v1/sessions", json={}).json()["id"]
    said = [{"role": role, "content": WORDS * 3} for _ in range(20) for role in ("user", "assistant")]
    owner.post(f"/v1/sessions/{session_id}/messages/append", json={"messages": said})
    for path, body in {"messages": {"content": "Mine!"}, "messages/append": {"messages": said[:1]}}.items():
        answer = stranger.post(f"/v1/sessions/{session_id}/{path}", json=body)
        assert answer.status_code == 404
    let_it_prepare(owner, session_id)


def test_a_deleted_session_is_not_prepared(start_service: StartService) -> None:
    client = start_service()
    said = [{"role": role, "content": WORDS * 3} for _ in range(20) for role in ("user", "assistant")]
    for _ in range(3):
        session_id = client.post("/v1/sessions", json={}).json()["id"]
        client.post(f"/v1/sessions/{session_id}/messages/append", json={"messages": said})
        assert client.delete(f"/v1/sessions/{session_id}").status_code == 202
    other = client.post("/v1/sessions", json={}).json()["id"]
    send(client, other, "Hello!")
    client.delete(f"/v1/sessions/{other}")
    metrics = client.get("/metrics").text
    assert "perdure_kv_cache_blocks 0.0" in metrics
