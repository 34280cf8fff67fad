"""Servers with OpenAI's API on loopback: one on the real model, and one that answers by a script."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from llm.engine.interface import (
    Delta,
    Event,
    Failed,
    Finished,
    Generation,
    GenerationRequest,
    SamplingParameters,
    ScoreRequest,
    Started,
)
from llm.engine.local_engine import LocalEngine
from llm.text.chat_format import ChatTokenizer

Json = dict[str, Any]
Dialect = Literal["vllm", "llama.cpp", "ollama"]

MODEL = "small"


@contextmanager
def serve(app: FastAPI) -> Iterator[str]:
    """Serve on a free port until the block ends; gives the URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, name="OpenAI server")
    thread.start()
    while not server.started:
        thread.join(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


class ModelServer:
    """The real model behind the API, as one server or another has it.

    `requests` are the bodies of all that was to be generated; `ended` how the generations ended.
    """

    def __init__(self, engine: LocalEngine, tokenizer: ChatTokenizer, dialect: Dialect) -> None:
        self.requests: list[Json] = []
        self.ended: list[Event] = []
        self.has_ended = threading.Event()
        self._engine = engine
        self._tokenizer = tokenizer
        self._dialect = dialect
        self.app = FastAPI()
        self.app.get("/v1/models")(self.models)
        self.app.post("/v1/completions")(self.completions)
        self.app.post("/v1/chat/completions")(self.chat)
        if dialect == "llama.cpp":
            self.app.get("/props")(self.props)
        if dialect != "ollama":
            self.app.post("/tokenize")(self.tokenize)
            self.app.post("/detokenize")(self.detokenize)

    async def models(self) -> Json:
        entry: Json = {"id": MODEL, "object": "model"}
        if self._dialect == "vllm":
            entry["max_model_len"] = self._engine.model.context_window
        if self._dialect == "llama.cpp":
            entry["meta"] = {"n_params": self._engine.model.parameters}
        if self._dialect == "ollama":
            entry["id"] = f"{MODEL}:latest"
        return {"object": "list", "data": [entry]}

    async def props(self) -> Json:
        return {
            "default_generation_settings": {"n_ctx": self._engine.model.context_window},
            "chat_template": self._tokenizer._tokenizer.chat_template,
            "bos_token": "<|im_start|>",
            "eos_token": "<|im_end|>",
        }

    async def tokenize(self, body: Json) -> Json:
        if self._dialect == "llama.cpp":
            encode = (
                self._tokenizer.encode_template
                if body.get("parse_special", True)
                else self._tokenizer.encode_text
            )
            return {"tokens": encode(body.get("content", ""))}
        if "messages" in body:
            text = self._tokenizer.render(body["messages"], ask=body.get("add_generation_prompt", True))
        elif "prompt" in body:
            text = body["prompt"]
        else:
            raise HTTPException(400, "prompt or messages are needed")
        tokens = self._tokenizer.encode_template(text)
        return {"tokens": tokens, "count": len(tokens), "max_model_len": self._engine.model.context_window}

    async def detokenize(self, body: Json) -> Json:
        text = self._tokenizer._tokenizer.decode(body["tokens"])
        return {"content" if self._dialect == "llama.cpp" else "prompt": text}

    async def completions(self, body: Json) -> Response:
        prompt = body["prompt"]
        if self._dialect == "ollama" and not isinstance(prompt, str):
            return JSONResponse({"error": {"message": "invalid message format"}}, 400)
        ids = self._tokenizer.encode_template(prompt) if isinstance(prompt, str) else tuple(prompt)
        if body.get("echo"):
            if self._dialect != "vllm":
                return JSONResponse({"choices": [{"text": "", "logprobs": {"token_logprobs": [-1.0]}}]})
            return await self._echo(body, ids)
        return await self._generate(body, ids, chat=False)

    async def _echo(self, body: Json, ids: tuple[int, ...]) -> Response:
        self.requests.append(body)
        asked = ScoreRequest(ids[:1], (ids[1:],), body.get("cache_salt", ""))
        [scores] = (await asyncio.wrap_future(self._engine.score(asked))).logprobs
        usage = {"prompt_tokens": len(ids), "prompt_tokens_details": {"cached_tokens": 1}}
        logprobs = {"token_logprobs": [None, *scores, 0]}
        return JSONResponse({"choices": [{"text": "", "logprobs": logprobs}], "usage": usage})

    async def chat(self, body: Json) -> Response:
        text = self._tokenizer.render(body["messages"], ask=True)
        return await self._generate(body, self._tokenizer.encode_template(text), chat=True)

    async def _generate(self, body: Json, ids: tuple[int, ...], *, chat: bool) -> Response:
        self.requests.append(body)
        sampling = SamplingParameters(
            max_tokens=body["max_tokens"],
            temperature=body["temperature"],
            top_p=body.get("top_p", 1.0),
            top_k=max(0, body.get("top_k", 0)),
            min_p=body.get("min_p", 0.0),
            repetition_penalty=body.get("repetition_penalty", 1.0),
            seed=body.get("seed"),
            stop=tuple(body.get("stop", ())),
        )
        request = GenerationRequest(ids, sampling, body.get("cache_salt", ""))
        generation = self._engine.submit(request)
        if body.get("stream"):
            events = self._events(generation, chat=chat, gives_ids=body.get("return_token_ids", False))
            return StreamingResponse(events, media_type="text/event-stream")
        started, *_, finished = [event async for event in generation]
        assert isinstance(started, Started)
        assert isinstance(finished, Finished)
        return JSONResponse({"choices": [{"text": finished.text}], "usage": _usage(started, finished)})

    async def _events(self, generation: Generation, *, chat: bool, gives_ids: bool) -> AsyncIterator[str]:
        started: Started | None = None
        last: Event | None = None
        try:
            if chat:
                yield sse({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
            async for last in generation:
                match last:
                    case Started():
                        started = last
                    case Delta(text) if text:
                        yield sse({"choices": [{"delta": {"content": text}} if chat else {"text": text}]})
                    case Finished():
                        assert started is not None
                        choice: Json = {"finish_reason": last.reason, "text": ""}
                        if gives_ids:
                            end = sorted(self._tokenizer.end_of_turn_ids)[:1] if last.reason == "stop" else []
                            choice["token_ids"] = [*last.token_ids, *end]
                        yield sse({"choices": [choice]})
                        yield sse({"choices": [], "usage": _usage(started, last)})
                        yield "data: [DONE]\n\n"
                    case Failed(error):
                        yield sse({"error": {"message": error}})
        finally:
            generation.cancel()
            self.ended.append(last or Failed("nothing came"))
            self.has_ended.set()


def sse(event: Any) -> str:
    return f"data: {json.dumps(event)}\n\n"


def _usage(started: Started, finished: Finished) -> Json:
    return {
        "prompt_tokens": started.prompt_tokens,
        "completion_tokens": finished.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": started.cached_tokens},
    }


@dataclass(frozen=True)
class Answer:
    """What a scripted server sends, and what it does then: end, cut the connection, or say nothing more."""

    pieces: tuple[str, ...] = ()
    then: Literal["end", "cut", "hang"] = "end"
    status: int = 200
    media_type: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)


class ScriptedServer:
    """Gives the answers of a script, one for each request; the last one again and again."""

    def __init__(self, *script: Answer) -> None:
        self.requests: list[Json] = []
        self.headers: list[Mapping[str, str]] = []
        self._script = script
        self.app = FastAPI()
        self.app.post("/{path:path}")(self.answer)
        self.app.get("/{path:path}")(self.answer)

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        self.requests.append(json.loads(body) if body else {})
        self.headers.append(request.headers)
        answer = self._script[min(len(self.requests), len(self._script)) - 1]
        return StreamingResponse(_sent(answer), answer.status, answer.headers, media_type=answer.media_type)


async def _sent(answer: Answer) -> AsyncIterator[str]:
    for piece in answer.pieces:
        yield piece
    if answer.then == "cut":
        raise ConnectionAbortedError("by the script")
    if answer.then == "hang":
        await asyncio.sleep(3600)
