"""The engine that has a remote server generate: `llm.engine.interface.Engine` over OpenAI's API."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future, wait

from llm.engine.interface import (
    NO_PREAMBLE,
    EngineStats,
    Finished,
    Generation,
    GenerationRequest,
    ModelInfo,
    Preamble,
    ScoreRequest,
    Scores,
)
from llm.engine.reservation import HeldPlace, submit_at_once
from llm.errors import EngineClosedError, UnsupportedByEngineError
from llm.remote.discovery import Api
from llm.remote.places import Places
from llm.remote.reply import RemoteReply
from llm.remote.score import LEAST_REPLY, scored
from llm.remote.server import RemoteServer
from llm.text.chat_format import ChatEncoding


class RemoteEngine:
    """`llm.engine.interface.Engine` on a server that speaks OpenAI's completions or chat API.

    With the `completions` API prompts go as token ids, exactly as they were assembled; with `chat` they go
    as messages, to which the server applies its own template. Prompts of up to `max_waiting_tokens` tokens
    wait at the server, which orders them. The engine owns `server` and closes it.
    """

    def __init__(
        self,
        server: RemoteServer,
        tokenizer: ChatEncoding,
        model: ModelInfo,
        *,
        api: Api,
        max_waiting_tokens: int,
    ) -> None:
        self._server = server
        self._tokenizer = tokenizer
        self._model = model
        self._api: Api = api
        self._places = Places(max_waiting_tokens)
        self._lock = threading.Lock()
        self._running: dict[Future[None], RemoteReply] = {}
        self._is_closed = False

    @property
    def model(self) -> ModelInfo:
        return self._model

    @property
    def stats(self) -> EngineStats:
        return self._places.stats

    def check(self) -> None:
        """Raise RemoteServerError unless the server answers; EngineClosedError after `close`."""
        self._server.ping()

    @property
    def can_prepare(self) -> bool:
        return False

    def reserve(self, request: GenerationRequest) -> HeldPlace:
        tokens = len(request.prompt)
        self._model.check_length(tokens, request.sampling.max_tokens)
        if self._api == "chat" and not request.messages:
            raise UnsupportedByEngineError("a server that is used by its chat API takes messages only")
        if request.sampling.logprobs is not None:
            raise UnsupportedByEngineError("log-probabilities are not to be had from a remote server")
        self._places.take(tokens)
        return HeldPlace(start=lambda: self._start(request), give_back=lambda: self._places.give_back(tokens))

    def submit(self, request: GenerationRequest) -> Generation:
        return submit_at_once(self.reserve(request))

    def prepare(
        self,
        prefixes: Sequence[Sequence[int]],
        owner: str,
        conversation: str,
        preamble: Preamble = NO_PREAMBLE,
    ) -> None:
        """Nothing: a server caches what it was asked for, and is asked for nothing beforehand."""

    def cached_tokens(
        self,
        prompt: Sequence[int],  # noqa: ARG002
        owner: str,  # noqa: ARG002
        preamble: Preamble = NO_PREAMBLE,  # noqa: ARG002
    ) -> int:
        """0: what a server has cached it says only with the usage of a reply."""
        return 0

    def forget(self, conversation: str) -> None:
        """Nothing: a server drops what has not been used for longest, and cannot be asked to."""

    def is_cached(self, conversation: str) -> bool:  # noqa: ARG002
        """False: what a server has cached is not known."""
        return False

    def score(self, request: ScoreRequest) -> Future[Scores]:
        self._model.check_length(len(request.prompt), request.longest_candidate + LEAST_REPLY)
        if self._api == "chat":
            raise UnsupportedByEngineError(
                f"{self._server.shown_url} is used by its chat API: it cannot score"
            )
        tokens = len(request.prompt) + request.longest_candidate
        self._places.take(tokens)
        try:
            running = self._server.start(self._scored(request))
        except EngineClosedError:
            self._places.give_back(tokens)
            raise
        running.add_done_callback(lambda _: self._places.give_back(tokens))
        return running

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            running = dict(self._running)
        self._places.close()
        for reply in running.values():
            reply.stream.cancel()
        wait(running)
        self._server.close()

    def _start(self, request: GenerationRequest) -> Generation:
        """Send a request that has a place, which it gives back when it begins, or ends first."""
        reply = RemoteReply(
            request,
            server=self._server,
            tokenizer=self._tokenizer,
            model=self._model.name,
            api=self._api,
            on_start=lambda: self._places.begin(len(request.prompt)),
        )
        with self._lock:
            if self._is_closed:
                raise EngineClosedError("the engine has been closed")
            running = self._server.start(self._run(reply))
            self._running[running] = reply
        running.add_done_callback(self._ended)
        return reply.stream

    async def _run(self, reply: RemoteReply) -> None:
        last = await reply.run()
        if reply.has_started:
            self._places.end(last if isinstance(last, Finished) else None)
        else:
            self._places.give_back(len(reply.request.prompt))
        reply.stream.put(last)

    def _ended(self, running: "Future[None]") -> None:
        with self._lock:
            del self._running[running]

    async def _scored(self, request: ScoreRequest) -> Scores:
        try:
            return await scored(self._server, self._model.name, request)
        except asyncio.CancelledError:
            if self._is_closed:
                raise EngineClosedError("the engine has been closed") from None
            raise
