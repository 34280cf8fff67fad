"""`/v1/sessions/{id}/messages` and `/v1/messages`: chatting, listing, appending, and contexts."""

import asyncio
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from app.api.dependencies import (
    Cursor,
    Limit,
    OwnerDep,
    ServiceDep,
    decode_position_cursor,
    encode_cursor,
)
from app.api.streams import EventStream, sse, until_disconnect
from app.context_records import recorded_view
from app.errors import InvalidProblem, NotFoundProblem
from app.fields import Text
from app.schemas import (
    ContextView,
    MessageCreate,
    MessagesAppend,
    MessagesView,
    MessageView,
    Page,
    ReplyView,
    Usage,
)
from app.storage.messages import MessageDraft, Messages
from app.storage.sessions import Sessions
from app.storage.tables import MessageRow
from app.turn import RunningTurn, TextDelta, TurnFailed, TurnFinished

router = APIRouter(prefix="/v1", tags=["messages"])

CLIENT_CLOSED_REQUEST = 499
"""For the log alone: nobody is there to receive it."""


@router.post(
    "/sessions/{session_id}/messages",
    response_model=ReplyView,
    responses={HTTPStatus.OK: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def create_message(
    session_id: str, body: MessageCreate, request: Request, service: ServiceDep, owner: OwnerDep
) -> Response:
    """Say something and get the reply.

    With `stream`, server-sent events: `started` with the stored message, `delta` with each piece of text,
    then `finished` with message and usage, or `error` with a problem document. A client that goes away
    ends the generation; what was generated until then is kept, marked `interrupted`.
    """
    arrived_at = time.perf_counter()
    starting = asyncio.ensure_future(service.chat.start_turn(owner, session_id, body, arrived_at=arrived_at))
    async with until_disconnect(request, starting.cancel):
        try:
            turn = await starting
        except asyncio.CancelledError:
            if starting.cancelled():  # the client went away before its message was stored
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            raise
    if body.stream:
        return EventStream(_stream(turn), on_disconnect=turn.cancel)
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


@router.post("/sessions/{session_id}/messages/append", status_code=HTTPStatus.CREATED)
async def append_messages(
    session_id: str, body: MessagesAppend, service: ServiceDep, owner: OwnerDep
) -> MessagesView:
    """Store messages as they are, all or none, and generate nothing: memory for a model of your own."""
    drafts = [
        MessageDraft(message.role, message.content, created_at=message.created_at)
        for message in body.messages
    ]
    rows = await service.chat.append(owner, session_id, drafts, if_busy=body.if_busy)
    return MessagesView(data=[_message_view(row) for row in rows])


@router.get("/sessions/{session_id}/messages")
async def list_messages(
    session_id: str,
    service: ServiceDep,
    owner: OwnerDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    order: Literal["oldest_first", "newest_first"] = "oldest_first",
) -> Page[MessageView]:
    """List the messages of a session, all that was ever said, whatever its memory strategy."""
    async with service.database.read() as session:
        if await Sessions(session, owner).get(session_id) is None:
            raise NotFoundProblem(f"session {session_id} does not exist")
        rows = await Messages(session, owner).list(
            session_id,
            after=decode_position_cursor(cursor),
            limit=limit + 1,
            newest_first=order == "newest_first",
        )
    page = rows[:limit]
    return Page(
        data=[_message_view(row) for row in page],
        next_cursor=encode_cursor(page[-1].position) if len(rows) > limit else None,
    )


@router.get("/sessions/{session_id}/context")
async def preview_context(
    session_id: str,
    service: ServiceDep,
    owner: OwnerDep,
    content: Annotated[Text | None, Query(description="A message to reply to; none: as it stands.")] = None,
    note: Annotated[Text | None, Query(description="A note of the system to the reply to `content`.")] = None,
    max_tokens: Annotated[int | None, Query(ge=1, le=1_000_000)] = None,
) -> ContextView:
    """What would be in the window now. A dry run: nothing is stored or generated."""
    if note is not None and content is None:
        raise InvalidProblem.of_field("note", "there is no content that it could be a note to")
    return await service.chat.preview(owner, session_id, content, note, max_tokens=max_tokens)


@router.get("/messages/{message_id}")
async def get_message(message_id: str, service: ServiceDep, owner: OwnerDep) -> MessageView:
    async with service.database.read() as session:
        row = await Messages(session, owner).get(message_id)
    if row is None:
        raise NotFoundProblem(f"message {message_id} does not exist")
    return _message_view(row)


@router.get("/messages/{message_id}/context")
async def get_message_context(message_id: str, service: ServiceDep, owner: OwnerDep) -> ContextView:
    """What was in the window when the reply `message_id` was generated."""
    async with service.database.read() as session:
        view = await recorded_view(session, owner, message_id)
    if view is None:
        raise NotFoundProblem(f"there is no reply {message_id} that was generated here")
    return view


async def _stream(turn: RunningTurn) -> AsyncIterator[bytes]:
    yield sse("started", {"user_message": _message_view(turn.turn.user_message).model_dump(mode="json")})
    async for event in turn.events():
        match event:
            case TextDelta(text):
                yield sse("delta", {"text": text})
            case TurnFinished(reply):
                yield sse("finished", _reply_view(turn, reply).model_dump(mode="json"))
            case TurnFailed(problem):
                yield sse("error", problem.document())


def _reply_view(turn: RunningTurn, reply: MessageRow) -> ReplyView:
    return ReplyView(
        message=_message_view(reply),
        user_message=_message_view(turn.turn.user_message),
        usage=Usage.model_validate(reply.usage),
    )


def _message_view(row: MessageRow) -> MessageView:
    return MessageView.model_validate(row, from_attributes=True)
