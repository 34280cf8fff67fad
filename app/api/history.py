"""Routes that work on a chat's history: other replies, edits, branches, pins, exclusions, forgetting."""

import time
from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from app.api.dependencies import OwnerDep, ServiceDep
from app.api.idempotency import IDEMPOTENT, IdempotentRoute
from app.api.replies import REPLY_RESPONSES, message_view, respond
from app.chat.existing import existing_message
from app.schemas.messages import MessageEdit, MessagesView, MessageView, ReplyCreate, ReplyView
from app.schemas.sessions import ForgottenView, SessionBranch, SessionForget, SessionView
from app.storage.marks import Marks
from app.storage.messages import Messages
from app.storage.tables import MessageRow

router = APIRouter(prefix="/v1", tags=["history"], route_class=IdempotentRoute)


@router.post(
    "/sessions/{session_id}/reply",
    response_model=ReplyView,
    responses=REPLY_RESPONSES,
    dependencies=[IDEMPOTENT],
)
async def create_reply(
    session_id: str, body: ReplyCreate, request: Request, service: ServiceDep, owner: OwnerDep
) -> Response:
    """Generate a reply to the last message, a user's that has none: after an edit, or after a failure."""
    arrived_at = time.perf_counter()
    starting = service.chat.start_reply(owner, session_id, body, replaces=None, arrived_at=arrived_at)
    return await respond(request, starting, stream=body.stream)


@router.post(
    "/messages/{message_id}/regenerate",
    response_model=ReplyView,
    responses=REPLY_RESPONSES,
    dependencies=[IDEMPOTENT],
)
async def regenerate(
    message_id: str, body: ReplyCreate, request: Request, service: ServiceDep, owner: OwnerDep
) -> Response:
    """Generate another reply in the place of this one, which is kept as an alternative.

    Messages behind it leave the chat, and are kept with it. If the new reply fails, is cut off or is empty,
    the old one stays.
    """
    arrived_at = time.perf_counter()
    session_id = await service.history.session_of(owner, message_id)
    starting = service.chat.start_reply(owner, session_id, body, replaces=message_id, arrived_at=arrived_at)
    return await respond(request, starting, stream=body.stream)


@router.get("/messages/{message_id}/alternatives")
async def list_alternatives(message_id: str, service: ServiceDep, owner: OwnerDep) -> MessagesView:
    """The messages that stood or stand in this one's place, itself included, oldest first."""
    async with service.database.read() as session:
        message = await existing_message(session, owner, message_id)
        rows = await Messages(session, owner).alternatives(message)
        marks = await Marks(session, owner).of([row.id for row in rows])
    return MessagesView(data=[message_view(row, marks[row.id]) for row in rows])


@router.post("/messages/{message_id}/activate")
async def activate_message(message_id: str, service: ServiceDep, owner: OwnerDep) -> MessageView:
    """Make this message part of the chat again, with what led to it and the newest that followed it."""
    return await _marked_view(service, owner, await service.history.activate(owner, message_id))


@router.put("/messages/{message_id}")
async def edit_message(
    message_id: str, body: MessageEdit, service: ServiceDep, owner: OwnerDep
) -> MessageView:
    """Put an edited message in the place of this one, which is kept as an alternative.

    It becomes the last message, unless `keep_following`. A user's message is then replied to by
    `POST /v1/sessions/{id}/reply`.
    """
    return await _marked_view(service, owner, await service.history.edit(owner, message_id, body))


@router.post("/sessions/{session_id}/branch", status_code=HTTPStatus.CREATED, dependencies=[IDEMPOTENT])
async def branch_session(
    session_id: str, body: SessionBranch, service: ServiceDep, owner: OwnerDep
) -> SessionView:
    """Begin a new session with copies of the messages up to one of this session, and its settings."""
    row = await service.history.branch(owner, session_id, body.message_id, body.title)
    return SessionView.model_validate(row, from_attributes=True)


@router.post("/sessions/{session_id}/forget")
async def forget_from(
    session_id: str, body: SessionForget, service: ServiceDep, owner: OwnerDep
) -> ForgottenView:
    """Forget a message and all behind it, alternatives among them, for good. Branches keep their copies."""
    messages = await service.history.forget(owner, session_id, body.from_message_id)
    service.keyed.forget(owner)
    return ForgottenView(messages=messages)


@router.put("/messages/{message_id}/pin")
async def pin_message(message_id: str, service: ServiceDep, owner: OwnerDep) -> MessageView:
    """Keep the message's whole turn in every window."""
    return await _marked_view(service, owner, await service.history.pin(owner, message_id))


@router.delete("/messages/{message_id}/pin")
async def unpin_message(message_id: str, service: ServiceDep, owner: OwnerDep) -> MessageView:
    return await _marked_view(service, owner, await service.history.unpin(owner, message_id))


@router.put("/messages/{message_id}/exclude")
async def exclude_message(message_id: str, service: ServiceDep, owner: OwnerDep) -> MessageView:
    """Keep the message's whole turn out of every window, even if it is pinned. It stays stored and listed."""
    return await _marked_view(service, owner, await service.history.exclude(owner, message_id))


@router.delete("/messages/{message_id}/exclude")
async def include_message(message_id: str, service: ServiceDep, owner: OwnerDep) -> MessageView:
    return await _marked_view(service, owner, await service.history.include(owner, message_id))


async def _marked_view(service: ServiceDep, owner: str, row: MessageRow) -> MessageView:
    async with service.database.read() as session:
        marks = await Marks(session, owner).of([row.id])
    return message_view(row, marks[row.id])
