"""How routes that generate a reply answer: as one document, or as server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.api.streams import EventStream, sse, until_disconnect
from app.chat.turn import RunningTurn, TextDelta, Turn, TurnFailed, TurnFinished
from app.schemas.messages import InstructionsView, MessageView, ReplyView, Usage
from app.schemas.sessions import SessionView
from app.storage.marks import MarkKind
from app.storage.tables import MessageRow, SessionRow
from app.telemetry.requests import note_problem

REPLY_RESPONSES: dict[int | str, dict[str, Any]] = {
    HTTPStatus.OK: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
}
CLIENT_CLOSED_REQUEST = 499
"""For logs and metrics alone: nobody is there to receive it."""


async def respond(
    request: Request, start: Coroutine[Any, Any, RunningTurn | SessionRow], *, stream: bool
) -> Response:
    """Start a turn and answer with its reply; a client that goes away ends it.

    A message that only gave a session other instructions is answered with a notice.
    """
    starting = asyncio.ensure_future(start)
    async with until_disconnect(request, starting.cancel):
        try:
            turn = await starting
        except asyncio.CancelledError:
            if starting.cancelled():  # the client went away before its message was stored
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            raise
    if isinstance(turn, SessionRow):
        return notice_response(turn, stream=stream)
    return await reply_response(request, turn, stream=stream)


def notice_response(row: SessionRow, *, stream: bool) -> Response:
    """The answer to a message that only gave a session other instructions."""
    notice = _instructions_view(row).model_dump(mode="json")
    if stream:
        return Response(sse("notice", notice), media_type=EventStream.media_type)
    return JSONResponse(notice)


async def answer_unless_gone(request: Request, work: Coroutine[Any, Any, BaseModel]) -> Response:
    """What the work gives, as one document; a client that goes away ends it."""
    working = asyncio.ensure_future(work)
    async with until_disconnect(request, working.cancel):
        try:
            return JSONResponse((await working).model_dump(mode="json"))
        except asyncio.CancelledError:
            if working.cancelled():
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            raise


async def reply_response(request: Request, turn: Turn, *, stream: bool) -> Response:
    """The answer that has a turn's reply. Raises the problem that it failed by, unless it is streamed."""
    if stream:
        return EventStream(_stream(turn), on_disconnect=turn.cancel, address=events_address(turn.reply_id))
    async with until_disconnect(request, turn.cancel):
        async for event in turn.events():
            match event:
                case TurnFinished(reply):
                    view = _reply_view(turn, reply)
                    return JSONResponse(view.model_dump(mode="json"))
                case TurnFailed(problem):
                    raise problem
                case TextDelta():
                    pass
    raise AssertionError("a turn ended without a last event")


def events_address(reply_id: str) -> str:
    """Where the events of a reply are, while it is generated and afterwards."""
    return f"/v1/messages/{reply_id}/events"


def instructions_notice(row: SessionRow) -> str:
    own = "the persona's own instructions" if row.instructions is None else "these instructions"
    return f"From the next turn on this chat has {own}."


def _instructions_view(row: SessionRow) -> InstructionsView:
    return InstructionsView(
        notice=instructions_notice(row),
        session=SessionView.model_validate(row, from_attributes=True),
    )


def message_view(row: MessageRow, marks: Collection[MarkKind] = ()) -> MessageView:
    view = MessageView.model_validate(row, from_attributes=True)
    return view.model_copy(update={"pinned": "pinned" in marks, "excluded": "excluded" in marks})


async def _stream(turn: Turn) -> AsyncIterator[bytes]:
    yield sse("started", {"user_message": _user_message(turn).model_dump(mode="json")})
    async for event in turn.events():
        match event:
            case TextDelta(text):
                yield sse("delta", {"text": text})
            case TurnFinished(reply):
                yield sse("finished", _reply_view(turn, reply).model_dump(mode="json"))
            case TurnFailed(problem):
                note_problem(problem)
                yield sse("error", problem.document())


def _reply_view(turn: Turn, reply: MessageRow) -> ReplyView:
    return ReplyView(
        message=message_view(reply),
        user_message=_user_message(turn),
        usage=Usage.model_validate(reply.usage) if reply.usage else None,
    )


def _user_message(turn: Turn) -> MessageView:
    return message_view(turn.user_message, turn.user_message_marks)
