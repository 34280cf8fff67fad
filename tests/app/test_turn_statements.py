"""How often a turn asks the database, of which each question costs it and those that wait beside it."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event

from tests.app.service import StartService

pytestmark = pytest.mark.stand_in

MOST_STATEMENTS = 18
FOLLOWS = ("upkeep of", "next window of", "shelving", "filling", "finding", "idempotency")
"""How tasks are named that nobody waits for."""


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """The statements of turns, by what kind they are of."""
    found: Counter[str] = Counter()

    def count(_connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        task = asyncio.current_task()
        if task is not None and not task.get_name().startswith(FOLLOWS):
            found[statement.split(maxsplit=1)[0]] += 1

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", count)


def test_a_turn_asks_no_more_of_the_database_in_a_long_chat(start_service: StartService) -> None:
    client = start_service()
    persona = _made(client, "personas", {"name": "Pippa", "instructions": "You are Pippa, a pirate."})
    memory = {"strategy": "token_buffer", "token_budget": 200}
    session = _made(client, "sessions", {"persona_id": persona, "memory": memory})
    for number in range(8):
        with counted() as statements:
            body = {"content": f"Where did you sail in summer number {number}?", "max_tokens": 16}
            answer = client.post(f"/v1/sessions/{session}/messages", json=body)
            assert answer.is_success, answer.text
        assert 0 < statements.total() <= MOST_STATEMENTS, statements


def _made(client: httpx.Client, what: str, body: dict[str, Any]) -> str:
    return str(client.post(f"/v1/{what}", json=body).raise_for_status().json()["id"])
