"""`/v1/sessions/{id}/lorebook`: the lorebook of a chat session."""

from dataclasses import asdict
from http import HTTPStatus

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.api.dependencies import OwnerDep, ServiceDep
from app.api.idempotency import IDEMPOTENT, IdempotentRoute
from app.cards.book import MAX_ENTRIES
from app.chat.existing import existing_session
from app.errors import InvalidProblem, NotFoundProblem
from app.schemas.lore import (
    LorebookUpdate,
    LorebookView,
    LoreEntryCreate,
    LoreEntryUpdate,
    LoreEntryView,
)
from app.storage.idempotency import IdempotencyKeys
from app.storage.lorebooks import SessionLore, StoredLoreEntry
from app.storage.messages import Messages
from app.storage.sessions import Sessions
from app.storage.tables import SessionRow

router = APIRouter(
    prefix="/v1/sessions/{session_id}/lorebook", tags=["lorebooks"], route_class=IdempotentRoute
)


@router.get("")
async def get_lorebook(session_id: str, service: ServiceDep, owner: OwnerDep) -> LorebookView:
    async with service.database.read() as session:
        return await _book(session, owner, await existing_session(session, owner, session_id))


@router.patch("")
async def update_lorebook(
    session_id: str, body: LorebookUpdate, service: ServiceDep, owner: OwnerDep
) -> LorebookView:
    """Change how far back is searched for keys, and how many tokens may enter."""
    changes = {f"lore_{name}": value for name, value in body.model_dump(exclude_unset=True).items()}
    async with service.database.write() as session:
        await existing_session(session, owner, session_id)
        row = await Sessions(session, owner).update(session_id, changes)
        assert row is not None
        return await _book(session, owner, row)


@router.post("/entries", status_code=HTTPStatus.CREATED, dependencies=[IDEMPOTENT])
async def create_entry(
    session_id: str, body: LoreEntryCreate, service: ServiceDep, owner: OwnerDep
) -> LoreEntryView:
    """Add an entry, with a text or made of a message of the session."""
    async with service.database.write() as session:
        await existing_session(session, owner, session_id)
        lore = SessionLore(session, owner)
        if len(await lore.list(session_id)) >= MAX_ENTRIES:
            raise InvalidProblem.of_field("body", f"a lorebook may have at most {MAX_ENTRIES} entries")
        if body.message_id is not None:
            message = await Messages(session, owner).get(body.message_id)
            if message is None or message.session_id != session_id:
                raise InvalidProblem.of_field(
                    "message_id", f"message {body.message_id} does not exist in this session"
                )
        entry_id = await lore.create(
            session_id,
            message_id=body.message_id,
            content=body.content,
            settings=body.model_dump(exclude={"content", "message_id"}),
        )
        await IdempotencyKeys(session, owner).keep("lore_entry", session_id=session_id, id=entry_id)
        return await entry_view(lore, session_id, entry_id)


@router.patch("/entries/{entry_id}")
async def update_entry(
    session_id: str, entry_id: str, body: LoreEntryUpdate, service: ServiceDep, owner: OwnerDep
) -> LoreEntryView:
    """Change fields of an entry; `enabled: false` keeps it out."""
    async with service.database.write() as session:
        lore = SessionLore(session, owner)
        if not await lore.update(session_id, entry_id, body.model_dump(exclude_unset=True)):
            raise _no_entry(entry_id)
        return await entry_view(lore, session_id, entry_id)


@router.delete("/entries/{entry_id}", status_code=HTTPStatus.NO_CONTENT)
async def delete_entry(session_id: str, entry_id: str, service: ServiceDep, owner: OwnerDep) -> Response:
    """Delete an entry; a message that it was made of stays."""
    async with service.database.write() as session:
        if not await SessionLore(session, owner).remove(session_id, entry_id):
            raise _no_entry(entry_id)
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _no_entry(entry_id: str) -> NotFoundProblem:
    return NotFoundProblem(f"the lorebook has no entry {entry_id}")


async def _book(session: AsyncSession, owner: str, row: SessionRow) -> LorebookView:
    entries = await SessionLore(session, owner).list(row.id)
    return LorebookView(
        scan_depth=row.lore_scan_depth,
        token_budget=row.lore_token_budget,
        entries=[_view(entry) for entry in entries],
    )


async def entry_view(lore: SessionLore, session_id: str, entry_id: str) -> LoreEntryView:
    """Raises NotFoundProblem."""
    for each in await lore.list(session_id):
        if each.entry.id == entry_id:
            return _view(each)
    raise _no_entry(entry_id)


def _view(stored: StoredLoreEntry) -> LoreEntryView:
    return LoreEntryView.model_validate(
        asdict(stored.entry) | {"message_id": stored.message_id, "created_at": stored.created_at}
    )
