"""Replies to whole prompts, which no session holds: several at once, as one stream of what they say."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import structlog

from app.access.spending import Account, open_accounts
from app.errors import GenerationFailedProblem, ProblemError, QueueTimeoutProblem, ShuttingDownProblem
from app.telemetry.generations import GenerationWatch
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import stage
from llm.engine.interface import (
    ChosenToken,
    Delta,
    Engine,
    Failed,
    Finished,
    Generation,
    GenerationRequest,
    Reservation,
    Started,
)

log = structlog.get_logger()

CANCELLED = "the generation was cancelled"


@dataclass(frozen=True, slots=True)
class Piece:
    """New text of the choice `index`, with its tokens where log-probabilities are wanted."""

    index: int
    text: str
    tokens: tuple[ChosenToken, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """The choice `index` is complete."""

    index: int
    reason: Literal["stop", "length"]


@dataclass(slots=True)
class Tally:
    """Tokens of all choices together. A prompt with several counts once."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class Completion:
    """Running generations, one a choice. Iterate `events` once; then `usage` is whole.

    Of choices with the same prompt the first computes it; the others begin when it has.
    """

    def __init__(
        self,
        engine: Engine,
        requests: Sequence[GenerationRequest],
        metrics: Metrics,
        *,
        places: Mapping[int, Reservation],
        accounts: Sequence[Account],
    ) -> None:
        """`places`: of the requests that compute a prompt, as `first_of` tells them. Raises like `submit`."""
        self.usage = Tally()
        self._engine = engine
        self._metrics = metrics
        self._arrived_at = time.perf_counter()
        self._requests = requests
        self._first = first_of(requests)
        self._is_computed = {index: asyncio.Event() for index in places}
        self._accounts = accounts
        self._is_cancelled = False
        self._events: asyncio.Queue[Piece | Ended | Exception] = asyncio.Queue()
        self._generations: dict[int, Generation] = {}
        for index, place in places.items():
            self._generations[index] = place.submit()
        self._tasks = [asyncio.create_task(self._run(index)) for index in range(len(requests))]

    def cancel(self) -> None:
        """End the generations; `events` then raises."""
        self._is_cancelled = True
        for generation in self._generations.values():
            generation.cancel()

    async def events(self) -> AsyncIterator[Piece | Ended]:
        """What the choices say, as it comes, until all have ended. Raises a problem, or like `submit`."""
        running = len(self._requests)
        try:
            while running:
                event = await self._events.get()
                if isinstance(event, Exception):
                    raise event
                running -= isinstance(event, Ended)
                yield event
        finally:
            self.cancel()

    async def ended(self) -> None:
        """Wait until nothing of it runs."""
        await asyncio.wait(self._tasks)

    async def _run(self, index: int) -> None:
        """Pass on what one choice says. Never raises: a fault becomes its last event."""
        is_first = self._first[index] == index
        try:
            if not is_first:
                await self._is_computed[self._first[index]].wait()
                if self._is_cancelled:
                    raise GenerationFailedProblem(CANCELLED)
                self._generations[index] = self._engine.submit(self._requests[index])
            with stage("completion"):
                await self._listen(index, self._generations[index])
        except Exception as error:
            self._events.put_nowait(error)
        finally:
            self._accounts[index].close()
            if is_first:
                self._is_computed[index].set()

    async def _listen(self, index: int, generation: Generation) -> None:
        started = Started(0, 0, 0)
        watch = GenerationWatch(self._metrics, "completion", arrived_at=self._arrived_at)
        async for event in generation:
            match event:
                case Started():
                    started = event
                    watch.started(event)
                    if self._first[index] == index:
                        self._is_computed[index].set()
                case Delta(text, tokens) if text or tokens:
                    watch.text()
                    self._events.put_nowait(Piece(index, text, tokens))
                case Finished(reason):
                    self._count(index, started, event)
                    watch.generated(event.completion_tokens)
                    watch.ended(reason)
                    if reason == "cancelled":
                        raise GenerationFailedProblem(CANCELLED)
                    self._events.put_nowait(Ended(index, reason))
                case Failed():
                    watch.generated(len(event.token_ids))
                    watch.ended("timeout" if event.reason == "timeout" else "failed")
                    raise _problem_of(event)

    def _count(self, index: int, started: Started, finished: Finished) -> None:
        self.usage.completion_tokens += finished.completion_tokens
        self._accounts[index].close(finished.completion_tokens)
        if self._first[index] == index:
            prompt, cached = finished.prompt_tokens, finished.cached_tokens
            self.usage.prompt_tokens += started.prompt_tokens if prompt is None else prompt
            self.usage.cached_tokens += started.cached_tokens if cached is None else cached


class Completions:
    """The completions that run in this process."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._running: set[Completion] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        self._is_closing = False

    async def start(self, requests: Sequence[GenerationRequest]) -> Completion:
        """Raises like `Engine.reserve` and `open_accounts`, and ShuttingDownProblem, with nothing started."""
        with ExitStack() as held:
            places: dict[int, Reservation] = {}
            for index in sorted(set(first_of(requests))):
                places[index] = self._engine.reserve(requests[index])
                held.callback(places[index].release)
            prompt_tokens = sum(len(requests[index].prompt) for index in places)
            accounts = await open_accounts(len(requests), prompt_tokens=prompt_tokens)
            with ExitStack() as unused:
                for account in accounts:
                    unused.callback(account.close)
                if self._is_closing:
                    raise ShuttingDownProblem("no new completions are taken")
                completion = Completion(
                    self._engine, requests, self._metrics, places=places, accounts=accounts
                )
                unused.pop_all()
        self._running.add(completion)
        waiting = asyncio.create_task(completion.ended())
        self._waiting.add(waiting)
        waiting.add_done_callback(lambda done: self._forget(completion, done))
        return completion

    async def close(self) -> None:
        """End all that run."""
        self._is_closing = True
        for completion in self._running:
            completion.cancel()
        if self._waiting:
            await asyncio.wait(self._waiting)

    def _forget(self, completion: Completion, waiting: asyncio.Task[None]) -> None:
        self._running.discard(completion)
        self._waiting.discard(waiting)


def first_of(requests: Sequence[GenerationRequest]) -> list[int]:
    """Of each request the first that has the same prompt."""
    first_with: dict[tuple[int, ...], int] = {}
    return [first_with.setdefault(request.prompt, index) for index, request in enumerate(requests)]


def _problem_of(failed: Failed) -> ProblemError:
    match failed.reason:
        case "timeout":
            return QueueTimeoutProblem(failed.error)
        case "closed":
            return ShuttingDownProblem(failed.error)
    log.error("generation failed", error=failed.error)
    return GenerationFailedProblem(failed.error)
