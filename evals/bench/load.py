"""`perdure bench load`: a service under many clients, each in a chat of its own, as its users would be.

A closed loop: a client says a message, reads the streamed reply to its end, thinks for a while, and says
the next. What a turn takes beside the model is the client's own time from sending to the end of the
stream, without the time that the engine had it (`usage.engine_ms`): HTTP, queries, the choice of a
context, tokenising, storing, and what these wait for each other and for a core.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import httpx
from httpx_sse import SSEError, aconnect_sse
from prometheus_client.parser import text_string_to_metric_families

from evals.bench.report import Goal, Round, Row, Section, percentile
from evals.bench.script import NAME, SEED, Script
from llm.progress import Progress

GOAL_CLIENTS = 8
GOALS = {"beside the model p50, ms": 15.0, "beside the model p95, ms": 50.0}
MEMORY = "process_resident_memory_bytes"
MESSAGES_APART = 7
"""Where in the script each client begins, behind the one before it."""


@dataclass(frozen=True, slots=True)
class LoadSizes:
    """`think_s`: seconds between a reply's end and the next message, on average."""

    clients: tuple[int, ...] = (1, 8, 32)
    turns: int = 10
    think_s: float = 2.0
    reply_tokens: int = 32


class TurnFailedError(Exception):
    """A message got no whole reply; the text is the kind of what went wrong."""


class LoadBenchmark:
    """Every number of clients for so many turns each, against one running service."""

    def __init__(
        self, url: str, key: str | None, script: Script, sizes: LoadSizes, progress: Progress
    ) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._script = script
        self._sizes = sizes
        self._progress = progress
        self._errors: Counter[str] = Counter()

    @property
    def notes(self) -> list[str]:
        """What went wrong in the run, by its kind."""
        return [f"{count} of {what}" for what, count in self._errors.most_common()]

    def run(self) -> list[Section]:
        return asyncio.run(self._run())

    async def _run(self) -> list[Section]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=self._url, headers=self._headers, timeout=httpx.Timeout(10, read=600), limits=limits
        ) as http:
            body = {"name": NAME, "instructions": self._script.persona}
            persona = await _created(http, "/v1/personas", body)
            try:
                rows = [await self._with_clients(http, persona, count) for count in self._sizes.clients]
            finally:
                await http.delete(f"/v1/personas/{persona}")
        about = f"{self._sizes.turns} turns of each client, of up to {self._sizes.reply_tokens} tokens"
        return [Section("load", about, rows, _goals(rows))]

    async def _with_clients(self, http: httpx.AsyncClient, persona: str, count: int) -> Row:
        stage, turns = f"{count} clients", count * self._sizes.turns
        before = self._errors.total()
        rounds: list[Round] = []
        self._progress(stage, 0, turns)

        async def talk(client: int) -> None:
            session = await _created(http, "/v1/sessions", {"persona_id": persona})
            dice = random.Random(f"{SEED}/{count}/{client}")
            try:
                for message in self._messages(client):
                    await asyncio.sleep(
                        dice.expovariate(1 / self._sizes.think_s) if self._sizes.think_s else 0
                    )
                    try:
                        rounds.append(await self._turn(http, session, message))
                    except TurnFailedError as error:
                        self._errors[str(error)] += 1
                    self._progress(stage, len(rounds), turns)
            finally:
                await http.delete(f"/v1/sessions/{session}")

        began = time.perf_counter()
        async with asyncio.TaskGroup() as clients:
            for client in range(count):
                clients.create_task(talk(client))
        seconds = time.perf_counter() - began
        figures = {"errors": float(self._errors.total() - before)} | _figures(rounds, seconds)
        if (memory := await self._memory(http)) is not None:
            figures["memory, MB"] = memory / 1e6
        return Row(stage, figures, rounds)

    def _messages(self, client: int) -> Iterator[str]:
        said = (message for message, _ in cycle(self._script.said))
        start = client * MESSAGES_APART
        return islice(said, start, start + self._sizes.turns)

    async def _turn(self, http: httpx.AsyncClient, session: str, message: str) -> Round:
        """One message and its reply. Raises TurnFailedError."""
        body = {"content": message, "stream": True, "max_tokens": self._sizes.reply_tokens}
        began = time.perf_counter()
        first: float | None = None
        usage: dict[str, Any] | None = None
        try:
            async with aconnect_sse(http, "POST", f"/v1/sessions/{session}/messages", json=body) as source:
                if not source.response.is_success:
                    await source.response.aread()
                    raise TurnFailedError(source.response.json()["title"])
                async for event in source.aiter_sse():
                    if event.event == "delta" and first is None:
                        first = time.perf_counter()
                    elif event.event == "error":
                        raise TurnFailedError(event.json()["title"])
                    elif event.event == "finished":
                        usage = event.json()["usage"]
        except (httpx.HTTPError, SSEError, ValueError) as error:
            raise TurnFailedError(type(error).__name__) from error
        ended = time.perf_counter()
        if usage is None:
            raise TurnFailedError("a stream without an end")
        return {
            "first token, ms": 1000 * ((first or ended) - began),
            "beside the model, ms": 1000 * (ended - began) - usage["engine_ms"],
            "tokens": usage["completion_tokens"],
        }

    async def _memory(self, http: httpx.AsyncClient) -> int | None:
        """Bytes of the service's process; None where it does not tell."""
        answer = await http.get("/metrics")
        families = text_string_to_metric_families(answer.text) if answer.is_success else ()
        return next((int(each.samples[0].value) for each in families if each.name == MEMORY), None)


def _figures(rounds: Sequence[Round], seconds: float) -> dict[str, float]:
    if not rounds:
        return {}
    shares = {"p50": 0.5, "p95": 0.95}
    times = {
        f"{what} {name}, ms": percentile([turn[f"{what}, ms"] for turn in rounds], share)
        for what in ("first token", "beside the model")
        for name, share in shares.items()
    }
    return times | {"tokens/s": sum(turn["tokens"] for turn in rounds) / seconds}


def _goals(rows: Sequence[Row]) -> list[Goal]:
    figures: dict[str, float] = next(
        (row.figures for row in rows if row.name == f"{GOAL_CLIENTS} clients"), {}
    )
    return [
        Goal(f"{what}, {GOAL_CLIENTS} clients", bound, figures.get(what)) for what, bound in GOALS.items()
    ]


async def _created(http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> str:
    answer = await http.post(path, json=body)
    return str(answer.raise_for_status().json()["id"])
