"""Far more clients at once than the model has places for: each is served, or told when to come again."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.models.embedding import SentenceEmbedder
from llm.text.chat_format import ChatTokenizer
from tests.app.tiny_service import tiny_service
from tests.llm.test_soak import resident_bytes

MANY = [60, pytest.param(500, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]
WAITING_TOKENS = 512
"""Room for eight of them."""
MOST_TRIES = 30
MOST_GROWTH = 2**30
"""Of the service and its clients together."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    document: Any


async def post(url: str, path: str, body: Any) -> Answer:
    """On a connection of its own; a client library's pool takes longer than the service with so many."""
    address = httpx.URL(url)
    raw = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection(address.host, address.port)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    )
    writer.write(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
    answered, _, document = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    status, *headers = answered.decode("ascii").split("\r\n")
    named = dict(header.lower().split(": ", 1) for header in headers)
    return Answer(int(status.split()[1]), named, json.loads(document))


@dataclass
class Crowd:
    """What became of the clients, by their numbers."""

    url: str
    sessions: list[str]
    tries: Counter[int] = field(default_factory=Counter)
    answered: list[int] = field(default_factory=list)
    refusals: list[Answer] = field(default_factory=list)

    async def say(self, number: int) -> None:
        """Say one message, again and again until it is answered."""
        said = {"content": f"I am number {number}.", "max_tokens": 2}
        while True:
            self.tries[number] += 1
            answer = await post(self.url, f"/v1/sessions/{self.sessions[number]}/messages", said)
            if answer.status == 200:
                self.answered.append(number)
                return
            self.refusals.append(answer)
            await asyncio.sleep(int(answer.headers["retry-after"]))

    async def come_at_once(self) -> None:
        await asyncio.gather(*(self.say(number) for number in range(len(self.sessions))))


@pytest.fixture
def url(chat_tokenizer: ChatTokenizer, embedder: SentenceEmbedder, tmp_path: Path) -> Iterator[str]:
    """Of a service with a tiny model and a short queue."""
    short = {"max_waiting_tokens": WAITING_TOKENS, "kv_cache_mb": 16}
    with tiny_service(tmp_path, chat_tokenizer, embedder, **short) as url:
        yield url


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("count", MANY)
def test_however_many_come_at_once_each_is_served_once(url: str, count: int) -> None:
    with httpx.Client(base_url=url, timeout=120) as client:
        made = [client.post("/v1/sessions", json={}) for _ in range(count)]
        crowd = Crowd(url, [answer.json()["id"] for answer in made])
        before = resident_bytes()
        asyncio.run(crowd.come_at_once())
        assert resident_bytes() - before < MOST_GROWTH
        assert sorted(crowd.answered) == list(range(count))
        assert max(crowd.tries.values()) <= MOST_TRIES
        assert crowd.refusals
        for refusal in crowd.refusals:
            assert refusal.status in (429, 503)
            assert refusal.headers["content-type"] == "application/problem+json"
            assert refusal.document["status"] == refusal.status
            assert str(refusal.document["retry_after_s"]) == refusal.headers["retry-after"]
        for number, session_id in enumerate(crowd.sessions):
            stored = client.get(f"/v1/sessions/{session_id}/messages").json()["data"]
            assert [message["role"] for message in stored] == ["user", "assistant"]
            assert stored[0]["content"] == f"I am number {number}."
