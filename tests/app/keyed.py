"""Requests with keys, and streams of events, as the tests send them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from httpx_sse import ServerSentEvent, connect_sse

from tests.app.standard import CHAT_MODEL


class Keys:
    """Keys that nobody has used, and requests with one."""

    count = 0

    @classmethod
    def new(cls) -> dict[str, str]:
        cls.count += 1
        return {"Idempotency-Key": f"key-{cls.count}"}


def new_session(client: httpx.Client, **body: Any) -> str:
    return str(client.post("/v1/sessions", json=body).json()["id"])


@contextmanager
def events_of(
    client: httpx.Client, method: str, path: str, headers: dict[str, str], **sent: Any
) -> Iterator[Iterator[ServerSentEvent]]:
    with connect_sse(client, method, path, headers=headers, **sent) as source:
        assert source.response.status_code == 200, source.response.read()
        yield source.iter_sse()


def say(session_id: str, content: str = "Hello!", max_tokens: int = 8, **more: Any) -> dict[str, Any]:
    body = {"content": content, "max_tokens": max_tokens, "temperature": 0, **more}
    return {"url": f"/v1/sessions/{session_id}/messages", "json": body}


def ask_chat(session_id: str, **more: Any) -> dict[str, Any]:
    body = {
        "model": CHAT_MODEL,
        "messages": [{"role": "user", "content": "Hello!"}],
        "max_tokens": 8,
        "metadata": {"session_id": session_id},
        **more,
    }
    return {"url": "/v1/chat/completions", "json": body}


def respond(**more: Any) -> dict[str, Any]:
    body = {"input": "Hello!", "max_output_tokens": 8, "temperature": 0, **more}
    return {"url": "/v1/responses", "json": body}


def heard(events: list[ServerSentEvent]) -> str:
    return "".join(event.json()["text"] for event in events if event.event == "delta")
