"""Our engine in a benchmark: opened as the service opens it, driven as the service drives it."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count

from app.models.chat import ChatModel, open_chat_model
from app.settings import Settings
from evals.bench.runners import OURS, FirstToken
from llm.engine.interface import (
    NO_PREAMBLE,
    Delta,
    Engine,
    Failed,
    Finished,
    Generation,
    GenerationRequest,
    Preamble,
    SamplingParameters,
    Started,
)


class EngineFailedError(Exception):
    """The engine could not generate; the message says why."""


@contextmanager
def our_engine(settings: Settings) -> Iterator["OurEngine"]:
    """An engine by these settings, until the end of the block."""
    engine = OurEngine(open_chat_model(settings))
    try:
        yield engine
    finally:
        engine.close()


class OurEngine:
    """`evals.bench.runners.DecodingRunner` on `llm`'s engine. Its replies never end by themselves."""

    name = OURS

    def __init__(self, model: ChatModel) -> None:
        self.model = model
        self._numbers = count()
        model.tokenizer.end_of_turn_ids = frozenset()

    def new_chat(self, room: int) -> "OurChat":  # noqa: ARG002 - the engine's cache grows by itself
        return OurChat(self.model, f"chat-{next(self._numbers)}")

    def decode_together(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[float]]:
        chats = [self.new_chat(0) for _ in prompts]
        try:
            for chat, prompt in zip(chats, prompts, strict=True):
                chat.first_token(prompt)  # so that all streams begin to decode at once
            requests = [chat.request(prompt, tokens) for chat, prompt in zip(chats, prompts, strict=True)]
            return asyncio.run(_together(self.model.engine, requests))
        finally:
            for chat in chats:
                chat.close()

    def close(self) -> None:
        self.model.engine.close()


async def _together(engine: Engine, requests: Sequence[GenerationRequest]) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in requests]
    async with asyncio.TaskGroup() as group:
        for request, noted in zip(requests, times, strict=True):
            group.create_task(note_times(engine.submit(request), noted))
    return times


async def note_times(generation: Generation, times: list[float]) -> None:
    """Append the time of each token of a reply, by `time.perf_counter`, as it comes."""
    async for event in generation:
        match event:
            case Delta():
                times.append(time.perf_counter())
            case Failed(error=error):
                raise EngineFailedError(error)
            case _:
                continue


class OurChat:
    """`evals.bench.runners.DecodingChat` on our engine. Its owner shares with nobody."""

    def __init__(self, model: ChatModel, name: str, owner: str | None = None) -> None:
        self._model = model
        self._name = name
        self._owner = name if owner is None else owner

    def request(
        self, prompt: Sequence[int], tokens: int, preamble: Preamble = NO_PREAMBLE
    ) -> GenerationRequest:
        return GenerationRequest(
            prompt=tuple(prompt),
            sampling=SamplingParameters(max_tokens=tokens, temperature=0.0, seed=0),
            owner=self._owner,
            conversation=self._name,
            preamble=preamble,
        )

    def first_token(self, prompt: Sequence[int], preamble: Preamble = NO_PREAMBLE) -> FirstToken:
        began = time.perf_counter()
        cached, ended = 0, 0.0
        for event in self._model.engine.submit(self.request(prompt, 1, preamble)):
            match event:
                case Started(cached_tokens=found):
                    cached = found
                case Failed(error=error):
                    raise EngineFailedError(error)
                case Delta() | Finished():
                    ended = ended or time.perf_counter()
        return FirstToken(ended - began, len(prompt) - cached)

    def take_reply(self, token_ids: Sequence[int]) -> None:
        self.first_token(token_ids)

    def prepare(self, prefixes: Sequence[Sequence[int]]) -> None:
        """Have what the coming prompts begin with computed in idle time."""
        self._model.engine.prepare(prefixes, self._owner, self._name)

    def cached_tokens(self, prompt: Sequence[int]) -> int:
        return self._model.engine.cached_tokens(prompt, self._owner)

    def decode(self, prompt: Sequence[int], tokens: int) -> list[float]:
        return asyncio.run(_together(self._model.engine, [self.request(prompt, tokens)]))[0]

    def close(self) -> None:
        self._model.engine.forget(self._name)
