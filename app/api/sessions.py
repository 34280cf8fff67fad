"""`/v1/sessions`: chat sessions and their memory settings."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api.dependencies import (
    Cursor,
    Limit,
    OwnerDep,
    ServiceDep,
    cut_page,
    decode_listing_cursor,
    listing_place,
    user_asked_for,
)
from app.api.idempotency import IDEMPOTENT, IdempotentRoute
from app.chat.creation import NewSession, new_session
from app.chat.existing import existing_session
from app.schemas.listings import Page
from app.schemas.sessions import SessionCreate, SessionUpdate, SessionView
from app.storage.idempotency import IdempotencyKeys
from app.storage.sessions import Sessions
from app.storage.tables import SessionRow
from memory.persona import ChatUser
from memory.strategies import parse_strategy

router = APIRouter(prefix="/v1/sessions", tags=["sessions"], route_class=IdempotentRoute)


@router.post("", status_code=HTTPStatus.CREATED, dependencies=[IDEMPOTENT])
async def create_session(body: SessionCreate, service: ServiceDep, owner: OwnerDep) -> SessionView:
    """Create a chat session. A greeting of the persona becomes its first message."""
    memory = body.memory if body.memory is not None else service.settings.memory
    memory = parse_strategy(memory).model_dump(mode="json")
    user = ChatUser(user_asked_for(owner, body.user_id), body.user_name)
    await service.chat.changes.check_fits(owner, body.persona_id, user)
    new = NewSession(
        memory=memory,
        user=user,
        persona_id=body.persona_id,
        greeting=body.greeting,
        title=body.title,
        prefixes=body.prefixes,
    )
    async with service.database.write() as session:
        row = await new_session(session, owner, new)
        await IdempotencyKeys(session, owner).keep("session", session_id=row.id)
    service.chat.recall.soon(owner, row.id)
    return _view(row)


@router.get("")
async def list_sessions(
    service: ServiceDep,
    owner: OwnerDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    user_id: Annotated[str | None, Query(max_length=256)] = None,
    persona_id: Annotated[str | None, Query(max_length=64)] = None,
) -> Page[SessionView]:
    """List chat sessions, newest first; of one user or persona, if asked to."""
    async with service.database.read() as session:
        rows = await Sessions(session, owner).list(
            after=decode_listing_cursor(cursor),
            limit=limit + 1,
            user_id=user_asked_for(owner, user_id),
            persona_id=persona_id,
        )
    page, next_cursor = cut_page(rows, limit, listing_place)
    return Page(
        data=[_view(row) for row in page],
        next_cursor=next_cursor,
    )


@router.get("/{session_id}")
async def get_session(session_id: str, service: ServiceDep, owner: OwnerDep) -> SessionView:
    async with service.database.read() as session:
        return _view(await existing_session(session, owner, session_id))


@router.patch("/{session_id}")
async def update_session(
    session_id: str, body: SessionUpdate, service: ServiceDep, owner: OwnerDep
) -> SessionView:
    """Change title, persona, instructions, the user's name, memory or prefixes.

    The next turn goes by it; nothing said is lost. Another persona brings its own instructions.
    """
    changes: dict[str, Any] = body.model_dump(exclude_unset=True)
    if "memory" in changes:
        changes["memory"] = parse_strategy(changes["memory"]).model_dump(mode="json")
    return _view(await service.chat.change(owner, session_id, changes))


def _view(row: SessionRow) -> SessionView:
    return SessionView.model_validate(row, from_attributes=True)
