"""A clock that is set back under a running service: order, limits and expiry hold all the same."""

from datetime import UTC, datetime, timedelta
from typing import Any

import time_machine

from tests.app.service import StartService

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_a_chat_goes_on_in_order_when_the_clock_is_set_back(start_service: StartService) -> None:
    with time_machine.travel(NOON, tick=True) as clock:
        client = start_service()
        session_id = client.post("/v1/sessions", json={"memory": {"strategy": "combined"}}).json()["id"]
        path = f"/v1/sessions/{session_id}/messages"
        said: list[dict[str, Any]] = []
        for hour in (0, -26, -400, 3):
            clock.move_to(NOON + timedelta(hours=hour))
            answer = client.post(path, json={"content": f"My name is Ann {len(said)}.", "max_tokens": 2})
            assert answer.is_success, answer.text
            said += [answer.json()["user_message"], answer.json()["message"]]
            usage = answer.json()["usage"]
            assert 0 <= usage["engine_ms"] <= usage["duration_ms"]
        assert client.get(path).json()["data"] == said
        assert [message["turn"] for message in said] == [0, 0, 1, 1, 2, 2, 3, 3]
        record = client.get(f"/v1/messages/{said[-1]['id']}/context").json()
        assert record["turns"] == [0, 1, 2]


def test_a_request_that_was_carried_out_is_not_carried_out_again_when_the_clock_is_set_back(
    start_service: StartService,
) -> None:
    with time_machine.travel(NOON, tick=True) as clock:
        client = start_service()
        key = {"Idempotency-Key": "once"}
        first = client.post("/v1/sessions", json={"title": "one"}, headers=key).json()
        clock.move_to(NOON - timedelta(days=40))
        assert client.post("/v1/sessions", json={"title": "one"}, headers=key).json() == first
        assert len(client.get("/v1/sessions").json()["data"]) == 1
