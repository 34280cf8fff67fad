"""One reply of a remote server: what is asked, and what comes of it, told to the stream of events."""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from llm.engine.generation import EventStream
from llm.engine.interface import Delta, Failed, Finished, FinishReason, GenerationRequest, Started
from llm.errors import ModelError, RemoteServerError
from llm.remote.discovery import Api
from llm.remote.retries import retrying
from llm.remote.server import Json, RemoteServer
from llm.remote.stream import Chunk, ServerUsage, chunks
from llm.text.chat_format import ChatEncoding
from llm.text.stop_strings import StopStrings

PATHS: dict[Api, str] = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}
FINISH_REASONS: dict[str | None, FinishReason] = {"stop": "stop", "length": "length"}
SEED_BITS = 31
"""llama.cpp takes seeds of 32 bits, and all of them set for none."""

log = logging.getLogger(__name__)


class RemoteReply:
    """Runs on the server's loop. The tokeniser may ask the server too: it is used on other threads."""

    def __init__(
        self,
        request: GenerationRequest,
        *,
        server: RemoteServer,
        tokenizer: ChatEncoding,
        model: str,
        api: Api,
        on_start: Callable[[], None],
    ) -> None:
        self._on_start = on_start
        self.stream = EventStream(lambda: server.on_loop(self._abort))
        self._server = server
        self._tokenizer = tokenizer
        self.request = request
        self._path = PATHS[api]
        sampling = request.sampling
        self._seed = secrets.randbits(SEED_BITS) if sampling.seed is None else sampling.seed
        stops = tuple(stop for stop in (*sampling.stop, *tokenizer.format.stop) if stop)
        self._body = request_body(request, model=model, api=api, seed=self._seed, stops=stops)
        # The server is asked to stop, too: this is for one that does not, or passes the stop string on.
        self._stops = StopStrings(stops)
        self._listening: asyncio.Task[FinishReason] | None = None
        self.has_started = False
        self._text = ""
        self._token_ids: list[int] = []
        self._usage: ServerUsage | None = None

    async def run(self) -> Finished | Failed:
        """Generate to the end, and give the last event, which is not in the stream yet. Never raises."""
        self._listening = asyncio.create_task(self._listen())
        if self.stream.is_cancelled:
            self._listening.cancel()
        try:
            reason = await self._listening
        except asyncio.CancelledError:
            reason = "cancelled"
        except Exception as error:
            if not isinstance(error, RemoteServerError):
                log.exception("a remote generation failed")
            return Failed(_said(error), self._text, await asyncio.to_thread(self._reply_ids))
        if not self._stops.found:
            self._pass_on(self._stops.end())
        return self._finished(reason, await asyncio.to_thread(self._reply_ids))

    def _abort(self) -> None:
        """Close the connection: the server ends the generation when it notices."""
        if self._listening is not None:
            self._listening.cancel()

    async def _listen(self) -> FinishReason:
        async for attempt in retrying(self._server.retries, lambda: not self.has_started):
            with attempt, self._server.translated(self._path):
                async with (
                    self._server.stream(self._path, self._body) as response,
                    aclosing(chunks(self._server, self._path, response)) as incoming,
                ):
                    return await self._read(incoming)
        raise AssertionError("the last try neither ended nor raised")

    def _start(self) -> None:
        """Servers answer before they compute: only with something of the reply is the prompt done."""
        if not self.has_started:
            self.has_started = True
            self._on_start()
            self.stream.put(Started(len(self.request.prompt), 0, self._seed))

    async def _read(self, incoming: AsyncGenerator[Chunk]) -> FinishReason:
        reason: str | None = None
        async for chunk in incoming:
            if chunk.text or chunk.token_ids or chunk.finish_reason:
                self._start()
            self._usage = chunk.usage or self._usage
            self._token_ids += chunk.token_ids
            self._pass_on(self._stops.add(chunk.text))
            if self._stops.found:
                return "stop"
            reason = chunk.finish_reason or reason
        if reason in FINISH_REASONS:
            return FINISH_REASONS[reason]
        raise self._server.fault(self._path, f"ended the reply with finish reason {reason!r}")

    def _pass_on(self, text: str) -> None:
        if text:
            self._text += text
            self.stream.put(Delta(text))

    def _finished(self, reason: FinishReason, token_ids: tuple[int, ...]) -> Finished:
        if self._usage is None:
            generated = len(self._token_ids) or len(token_ids)
            return Finished(reason, self._text, token_ids, completion_tokens=generated)
        return Finished(
            reason,
            self._text,
            token_ids,
            completion_tokens=self._usage.completion_tokens,
            prompt_tokens=self._usage.prompt_tokens,
            cached_tokens=self._usage.cached_tokens,
        )

    def _reply_ids(self) -> tuple[int, ...]:
        """The ids that the server generated, if they decode to the text, else those that do.

        Empty if the tokeniser is the server's and does not answer.
        """
        generated = list(self._token_ids)
        while generated and generated[-1] in self._tokenizer.end_of_turn_ids:
            generated.pop()
        try:
            if generated and self._tokenizer.decode(generated) == self._text:
                return tuple(generated)
            return self._tokenizer.encode_text(self._text) if self._text else ()
        except ModelError as error:
            log.warning("the reply's token ids cannot be had: %s", error)
            return ()


def request_body(
    request: GenerationRequest, *, model: str, api: Api, seed: int, stops: tuple[str, ...]
) -> Json:
    """The body of the request. Fields that a server does not know it is expected to ignore.

    Every sampling parameter is sent, since servers have defaults of their own for what is not.
    """
    sampling = request.sampling
    body: Json = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": seed,
        # Beyond OpenAI's API; no top-k is -1 to all of vLLM, SGLang and llama.cpp.
        "top_k": sampling.top_k or -1,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        # The same in llama.cpp's words, over the whole context.
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": len(request.prompt) + sampling.max_tokens,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
    }
    if stops:
        body["stop"] = list(stops)
    body |= owner_fields(request.owner)
    if api == "chat":
        body["messages"] = [{"role": role, "content": content} for role, content in request.messages]
    else:
        body |= {"prompt": list(request.prompt), "return_token_ids": True}
    return body


def owner_fields(owner: str) -> Json:
    """What keeps owners apart: vLLM shares cached prefixes only between requests of the same salt."""
    return {"cache_salt": hashlib.sha256(owner.encode()).hexdigest()[:32]} if owner else {}


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, ModelError) else f"{type(error).__name__}: {error}"
