"""`/v1/sessions/{id}/messages` and `/v1/messages`: chatting, listing, appending, and contexts."""

import time
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from app.api.dependencies import (
    Cursor,
    Limit,
    OwnerDep,
    ServiceDep,
    cut_page,
    decode_position_cursor,
)
from app.api.idempotency import IDEMPOTENT, IdempotentRoute
from app.api.replies import REPLY_RESPONSES, message_view, respond
from app.chat.context_records import recorded_view
from app.chat.existing import existing_message, existing_session
from app.errors import InvalidProblem, NotFoundProblem
from app.fields import Text
from app.schemas.contexts import ContextView
from app.schemas.listings import Page
from app.schemas.messages import (
    InstructionsView,
    MessageCreate,
    MessagesAppend,
    MessagesView,
    MessageView,
    ReplyView,
)
from app.storage.marks import Marks
from app.storage.messages import MessageDraft, Messages

router = APIRouter(prefix="/v1", tags=["messages"], route_class=IdempotentRoute)


@router.post(
    "/sessions/{session_id}/messages",
    response_model=ReplyView | InstructionsView,
    responses=REPLY_RESPONSES,
    dependencies=[IDEMPOTENT],
)
async def create_message(
    session_id: str, body: MessageCreate, request: Request, service: ServiceDep, owner: OwnerDep
) -> Response:
    """Say something and get the reply.

    With `stream`, server-sent events: `started` with the stored message, `delta` with each piece of text,
    then `finished` with message and usage, or `error` with a problem document. A client that goes away
    ends the generation; what was generated until then is kept, marked `interrupted`.

    Where the session has prefixes on, `ci:` is answered by a notice instead, or by one event `notice`.
    """
    arrived_at = time.perf_counter()
    starting = service.chat.start_turn(owner, session_id, body, arrived_at=arrived_at)
    return await respond(request, starting, stream=body.stream)


@router.post(
    "/sessions/{session_id}/messages/append", status_code=HTTPStatus.CREATED, dependencies=[IDEMPOTENT]
)
async def append_messages(
    session_id: str, body: MessagesAppend, service: ServiceDep, owner: OwnerDep
) -> MessagesView:
    """Store messages as they are, all or none, and generate nothing: memory for a model of your own."""
    drafts = [
        MessageDraft(message.role, message.content, created_at=message.created_at)
        for message in body.messages
    ]
    rows = await service.chat.append(owner, session_id, drafts, if_busy=body.if_busy)
    return MessagesView(data=[message_view(row) for row in rows])


@router.get("/sessions/{session_id}/messages")
async def list_messages(
    session_id: str,
    service: ServiceDep,
    owner: OwnerDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    order: Literal["oldest_first", "newest_first"] = "oldest_first",
) -> Page[MessageView]:
    """List the messages of a session, all that was said, whatever its memory strategy.

    Messages that others took the place of are with those: `GET /v1/messages/{id}/alternatives`.
    """
    async with service.database.read() as session:
        await existing_session(session, owner, session_id)
        rows = await Messages(session, owner).list(
            session_id,
            after=decode_position_cursor(cursor),
            limit=limit + 1,
            newest_first=order == "newest_first",
        )
        page, next_cursor = cut_page(rows, limit, lambda row: (row.position,))
        marks = await Marks(session, owner).of([row.id for row in page])
    return Page(
        data=[message_view(row, marks[row.id]) for row in page],
        next_cursor=next_cursor,
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
    return await service.chat.states.preview(owner, session_id, content, note, max_tokens=max_tokens)


@router.get("/messages/{message_id}")
async def get_message(message_id: str, service: ServiceDep, owner: OwnerDep) -> MessageView:
    async with service.database.read() as session:
        row = await existing_message(session, owner, message_id)
        marks = await Marks(session, owner).of([message_id])
    return message_view(row, marks[message_id])


@router.get("/messages/{message_id}/context")
async def get_message_context(message_id: str, service: ServiceDep, owner: OwnerDep) -> ContextView:
    """What was in the window when the reply `message_id` was generated."""
    async with service.database.read() as session:
        view = await recorded_view(session, owner, message_id)
    if view is None:
        raise NotFoundProblem(f"there is no reply {message_id} that was generated here")
    return view
