"""Answering a completion: one document of all choices, or a stream of chunks that ends with `[DONE]`.

What differs between chat completions and completions is their `Form`; where the reply comes from, whole
prompts or a chat session, is behind `Reply`.
"""

import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, Protocol

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import format_sse_event

from app.api.streams import EventStream, until_disconnect
from app.models.completions import Ended, Piece, Tally
from app.openai.errors import error_document
from app.openai.logprobs import TokenTexts
from app.openai.schemas import CachedTokens, CompletionUsage
from app.problem_responses import problem_of
from app.telemetry.requests import note_problem
from llm.engine.interface import ChosenToken, ModelInfo

FinishReason = Literal["stop", "length"]

STREAM_RESPONSES: dict[int | str, dict[str, Any]] = {
    HTTPStatus.OK: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


class Reply(Protocol):
    """What is being generated. Iterate `events` once; then `usage` is whole."""

    @property
    def usage(self) -> Tally: ...

    def events(self) -> AsyncIterator[Piece | Ended]: ...

    def cancel(self) -> None: ...


class Form(Protocol):
    """One of the two kinds of completion. `texts`: None if no log-probabilities are wanted."""

    document: str
    chunk: str

    def heads(self) -> list[dict[str, Any]]:
        """Choices of the chunks that come before any text."""

    def piece(self, piece: Piece) -> dict[str, Any]: ...

    def end(self, ended: Ended) -> dict[str, Any]: ...

    def whole(
        self, index: int, text: str, tokens: Sequence[ChosenToken], reason: FinishReason
    ) -> dict[str, Any]: ...


class ChatForm:
    document = "chat.completion"
    chunk = "chat.completion.chunk"

    def __init__(self, choices: int, texts: TokenTexts | None) -> None:
        self._choices = choices
        self._texts = texts

    def heads(self) -> list[dict[str, Any]]:
        return [self._delta(index, {"role": "assistant", "content": ""}) for index in range(self._choices)]

    def piece(self, piece: Piece) -> dict[str, Any]:
        return self._delta(piece.index, {"content": piece.text}, self._logprobs(piece.tokens))

    def end(self, ended: Ended) -> dict[str, Any]:
        return self._delta(ended.index, {}, None, ended.reason)

    def whole(
        self, index: int, text: str, tokens: Sequence[ChosenToken], reason: FinishReason
    ) -> dict[str, Any]:
        return {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": self._logprobs(tokens),
            "finish_reason": reason,
        }

    def _logprobs(self, tokens: Sequence[ChosenToken]) -> dict[str, Any] | None:
        return self._texts.of_chat(tokens) if self._texts is not None else None

    @staticmethod
    def _delta(
        index: int,
        delta: dict[str, Any],
        logprobs: dict[str, Any] | None = None,
        reason: FinishReason | None = None,
    ) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}


class TextForm:
    """`echoes`: the text that stands before each choice; empty where the prompt is not wanted."""

    document = "text_completion"
    chunk = "text_completion"

    def __init__(self, echoes: Sequence[str], texts: TokenTexts | None) -> None:
        self._echoes = echoes
        self._texts = texts
        self._sent = [len(echo) for echo in echoes]

    def heads(self) -> list[dict[str, Any]]:
        return [self._choice(index, echo) for index, echo in enumerate(self._echoes) if echo]

    def piece(self, piece: Piece) -> dict[str, Any]:
        logprobs = self._logprobs(piece.tokens, self._sent[piece.index])
        self._sent[piece.index] += sum(map(len, logprobs["tokens"])) if logprobs else 0
        return self._choice(piece.index, piece.text, logprobs)

    def end(self, ended: Ended) -> dict[str, Any]:
        return self._choice(ended.index, "", None, ended.reason)

    def whole(
        self, index: int, text: str, tokens: Sequence[ChosenToken], reason: FinishReason
    ) -> dict[str, Any]:
        echo = self._echoes[index]
        return self._choice(index, echo + text, self._logprobs(tokens, len(echo)), reason)

    def _logprobs(self, tokens: Sequence[ChosenToken], offset: int) -> dict[str, Any] | None:
        return self._texts.of_text(tokens, offset) if self._texts is not None else None

    @staticmethod
    def _choice(
        index: int,
        text: str,
        logprobs: dict[str, Any] | None = None,
        reason: FinishReason | None = None,
    ) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}


@dataclass(slots=True)
class Heard:
    """What one choice has said so far."""

    text: str = ""
    tokens: list[ChosenToken] = field(default_factory=list)
    reason: FinishReason = "stop"


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply on its way to the client, under its id. `address`: where its events can be had again."""

    id: str
    reply: Reply
    form: Form
    model: ModelInfo
    address: str | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    async def whole(self, request: Request) -> Response:
        """All of it in one document. A client that goes away ends the generation."""
        heard: dict[int, Heard] = {}
        async with until_disconnect(request, self.reply.cancel):
            async for event in self.reply.events():
                choice = heard.setdefault(event.index, Heard())
                match event:
                    case Piece(_, text, tokens):
                        choice.text += text
                        choice.tokens += tokens
                    case Ended(_, reason):
                        choice.reason = reason
        choices = [
            self.form.whole(index, choice.text, choice.tokens, choice.reason)
            for index, choice in sorted(heard.items())
        ]
        document = self._document(self.form.document, choices)
        return JSONResponse({**document, "usage": usage_view(self.reply.usage)})

    def stream(self, *, include_usage: bool) -> Response:
        """Chunk by chunk. A client that goes away ends the generation."""
        return EventStream(self._chunks(include_usage), on_disconnect=self.reply.cancel, address=self.address)

    async def _chunks(self, include_usage: bool) -> AsyncIterator[bytes]:
        no_usage: dict[str, Any] = {"usage": None} if include_usage else {}

        def chunk(choice: dict[str, Any]) -> bytes:
            return _data({**self._document(self.form.chunk, [choice]), **no_usage})

        for head in self.form.heads():
            yield chunk(head)
        try:
            async for event in self.reply.events():
                yield chunk(self.form.piece(event) if isinstance(event, Piece) else self.form.end(event))
        except Exception as error:
            problem = problem_of(error)
            note_problem(problem)
            yield _data(error_document(problem))
            return
        if include_usage:
            yield _data({**self._document(self.form.chunk, []), "usage": usage_view(self.reply.usage)})
        yield format_sse_event(data_str="[DONE]")

    def _document(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model.name,
            "system_fingerprint": f"fp_{self.model.fingerprint[:16]}",
            "choices": choices,
        }


def usage_view(usage: Tally) -> dict[str, Any]:
    view = CompletionUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=CachedTokens(cached_tokens=usage.cached_tokens),
    )
    return view.model_dump(mode="json")


def _data(document: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=json.dumps(document, ensure_ascii=False))
