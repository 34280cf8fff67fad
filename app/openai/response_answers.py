"""Answering with a response: one document, or the API's stream of events, numbered, that ends with it."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from app.api.streams import EventStream, sse, until_disconnect
from app.models.completions import Ended, Piece
from app.openai.answering import Heard, Reply
from app.openai.errors import error_document
from app.openai.item_schemas import ItemView, text_part
from app.openai.logprobs import TokenTexts
from app.openai.response_schemas import (
    IncompleteDetails,
    ResponseEcho,
    ResponseFault,
    ResponseView,
    Status,
    usage_of,
)
from app.problem_responses import problem_of
from llm.engine.interface import ChosenToken


@dataclass(frozen=True, slots=True)
class ResponseAnswer:
    """A reply on its way to the client. `item_id`: that of the one message that it is.

    `texts`: None if no log-probabilities are wanted. `address`: where its events can be had again.
    `completed`: when it was, if it is told again.
    """

    id: str
    item_id: str
    reply: Reply
    echo: ResponseEcho
    texts: TokenTexts | None
    address: str | None = None
    created: int = field(default_factory=lambda: int(time.time()))
    completed: int | None = None

    async def whole(self, request: Request) -> Response:
        """All of it in one document. A client that goes away ends the generation."""
        heard = Heard()
        async with until_disconnect(request, self.reply.cancel):
            async for event in self.reply.events():
                _hear(heard, event)
        return JSONResponse(self._ended(heard))

    def begun(self) -> Response:
        """What there is before the first word: for a client that does not wait for more."""
        return JSONResponse(self._document("queued"))

    def stream(self) -> EventStream:
        """Event by event. A client that goes away ends the generation."""
        return EventStream(self._numbered(), on_disconnect=self.reply.cancel, address=self.address)

    async def _numbered(self) -> AsyncIterator[bytes]:
        number = 0
        async for kind, data in self._events():
            yield sse(kind, {"type": kind, **data, "sequence_number": number})
            number += 1

    async def _events(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        begun = self._document("in_progress")
        if self.echo.background:
            queued = self._document("queued")
            yield "response.created", {"response": queued}
            yield "response.queued", {"response": queued}
        else:
            yield "response.created", {"response": begun}
        yield "response.in_progress", {"response": begun}
        item, part = {"output_index": 0}, {"item_id": self.item_id, "output_index": 0, "content_index": 0}
        yield "response.output_item.added", {**item, "item": self._item("in_progress", []).model_dump()}
        yield "response.content_part.added", {**part, "part": text_part("")}
        heard = Heard()
        try:
            async for event in self.reply.events():
                _hear(heard, event)
                if isinstance(event, Piece):
                    delta = {"delta": event.text, "logprobs": self._logprobs(event.tokens)}
                    yield "response.output_text.delta", {**part, **delta}
        except Exception as error:
            yield "response.failed", {"response": self._failed(error)}
            return
        ended = self._ended(heard)
        [said] = ended["output"]
        text = {"text": heard.text, "logprobs": said["content"][0]["logprobs"]}
        yield "response.output_text.done", {**part, **text}
        yield "response.content_part.done", {**part, "part": said["content"][0]}
        yield "response.output_item.done", {**item, "item": said}
        yield f"response.{ended['status']}", {"response": ended}

    def _ended(self, heard: Heard) -> dict[str, Any]:
        content = [text_part(heard.text, self._logprobs(heard.tokens))]
        is_cut = heard.reason == "length"
        status: Status = "incomplete" if is_cut else "completed"
        return self._document(
            status,
            incomplete_details=IncompleteDetails() if is_cut else None,
            completed_at=None if is_cut else self.completed or int(time.time()),
            output=[self._item(status, content)],
            usage=usage_of(self.reply.usage),
        )

    def _failed(self, error: Exception) -> dict[str, Any]:
        fault = error_document(problem_of(error))["error"]
        code = "server_error" if fault["type"] == "server_error" else fault["code"]
        return self._document("failed", error=ResponseFault(code=code, message=fault["message"]))

    def _document(self, status: Status, **found: Any) -> dict[str, Any]:
        view = ResponseView(
            **self.echo.model_dump(), id=self.id, created_at=self.created, status=status, **found
        )
        return view.model_dump(mode="json")

    def _item(self, status: Any, content: list[dict[str, Any]]) -> ItemView:
        return ItemView(id=self.item_id, role="assistant", status=status, content=content)

    def _logprobs(self, tokens: tuple[ChosenToken, ...] | list[ChosenToken]) -> list[dict[str, Any]]:
        scored: list[dict[str, Any]] = self.texts.of_chat(tokens)["content"] if self.texts else []
        return scored


def _hear(heard: Heard, event: Piece | Ended) -> None:
    match event:
        case Piece(_, text, tokens):
            heard.text += text
            heard.tokens += tokens
        case Ended(_, reason):
            heard.reason = reason
