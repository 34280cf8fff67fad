"""Chat sessions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, String, Update, bindparam, func

from app.ids import new_id
from app.storage.fact_blocks import FactBlocks
from app.storage.passages import StoredPassages
from app.storage.personas import behind
from app.storage.repository import Repository, prepared
from app.storage.tables import (
    ON_ACTIVE_PATH,
    LoreEntryRow,
    MessageRow,
    MessageTokensRow,
    SessionRow,
    UtcDateTime,
)


@dataclass(frozen=True, slots=True)
class StandingSession:
    """A session, whether it has a lorebook of its own, and a reply that is not stored to its end.

    `is_indexed`: whether its token index has all messages, but for such a reply.
    """

    row: SessionRow
    has_lore: bool
    has_unfinished: bool
    is_indexed: bool


class Sessions(Repository):
    """The chat sessions of one owner."""

    async def create(
        self,
        *,
        persona_id: str | None,
        user_id: str | None,
        title: str | None,
        memory: dict[str, Any],
        user_name: str | None = None,
        branched_from: MessageRow | None = None,
        prefixes: bool = False,
        instructions: str | None = None,
        client_metadata: dict[str, Any] | None = None,
    ) -> SessionRow:
        now = datetime.now(UTC)
        row = SessionRow(
            id=new_id("ses"),
            persona_id=persona_id,
            user_id=user_id,
            user_name=user_name,
            title=title,
            memory=memory,
            prefixes=prefixes,
            instructions=instructions,
            client_metadata=client_metadata or {},
            branched_from_session=branched_from.session_id if branched_from else None,
            branched_from_message=branched_from.id if branched_from else None,
            created_at=now,
            updated_at=now,
        )
        self.add(row)
        await self.session.flush()
        return row

    async def get(self, session_id: str) -> SessionRow | None:
        """The session; a unit that writes holds it."""
        found = await self.ask(self._of_id, holds=True, session=session_id)
        return found.scalars().one_or_none()

    @prepared
    def _of_id(self) -> Select[Any]:
        return self.select(SessionRow).where(SessionRow.id == bindparam("session"))

    async def as_it_stands(self, session_id: str, fingerprint: str) -> StandingSession | None:
        """The session, and how it stands under that tokeniser and template."""
        row = (await self.ask(self._as_it_stands, session=session_id)).one_or_none()
        if row is None:
            return None
        session, has_lore, has_unfinished, newest = row
        return StandingSession(session, has_lore, has_unfinished, newest is None or newest == fingerprint)

    @prepared
    def _as_it_stands(self) -> Select[Any]:
        session_id = bindparam("session", type_=String())
        lore = self.select_columns(LoreEntryRow, LoreEntryRow.id).where(LoreEntryRow.session_id == session_id)
        unfinished = self.select_columns(MessageRow, MessageRow.id).where(
            MessageRow.status == "generating", MessageRow.session_id == session_id
        )
        # The token index has no gaps: it is whole where it has the newest message.
        newest = (
            self.select_columns(MessageRow, func.coalesce(MessageTokensRow.fingerprint, ""))
            .outerjoin(MessageTokensRow, MessageTokensRow.message_id == MessageRow.id)
            .where(MessageRow.session_id == session_id, ON_ACTIVE_PATH, MessageRow.status != "generating")
            .order_by(MessageRow.position.desc())
            .limit(1)
        )
        query = self.select(SessionRow).where(SessionRow.id == session_id)
        return query.add_columns(lore.exists(), unfinished.exists(), newest.scalar_subquery())

    async def list(
        self, *, after: tuple[datetime, str] | None, limit: int, user_id: str | None, persona_id: str | None
    ) -> list[SessionRow]:
        """Newest first, from behind `after` on."""
        query = self.select(SessionRow).order_by(SessionRow.created_at.desc(), SessionRow.id.desc())
        if after:
            query = query.where(behind(SessionRow, after))
        if user_id is not None:
            query = query.where(SessionRow.user_id == user_id)
        if persona_id is not None:
            query = query.where(SessionRow.persona_id == persona_id)
        return list((await self.session.scalars(query.limit(limit))).all())

    async def update(self, session_id: str, changes: dict[str, Any]) -> SessionRow | None:
        row = await self.get(session_id)
        if row is not None:
            for field, value in changes.items():
                setattr(row, field, value)
            row.updated_at = datetime.now(UTC)
            await self.session.flush()
        return row

    async def ids(self, user_id: str | None) -> Sequence[str]:
        """The ids of all sessions, or of those of one user."""
        query = self.select_columns(SessionRow, SessionRow.id).order_by(SessionRow.id)
        if user_id is not None:
            query = query.where(SessionRow.user_id == user_id)
        return (await self.session.scalars(query)).all()

    async def kept_up(self, session_id: str, changed_at: datetime) -> None:
        """Note that what is derived from a session has come up to that change of it, if it is the last."""
        await self.ask(self._kept_up, session=session_id, changed=changed_at)

    @prepared
    def _kept_up(self) -> Update:
        changed = bindparam("changed", type_=UtcDateTime())
        kept_up = self.update_rows(SessionRow).where(
            SessionRow.id == bindparam("session"), SessionRow.updated_at == changed
        )
        return kept_up.values(kept_up_at=changed).execution_options(synchronize_session=False)

    async def to_keep_up(self, *, changed_before: datetime | None = None) -> Sequence[str]:
        """The ids of the sessions that upkeep has not come up to, the one that changed last at the end."""
        query = (
            self.select_columns(SessionRow, SessionRow.id)
            .where(SessionRow.updated_at.is_distinct_from(SessionRow.kept_up_at))
            .order_by(SessionRow.updated_at, SessionRow.id)
        )
        if changed_before is not None:
            query = query.where(SessionRow.updated_at < changed_before)
        return (await self.session.scalars(query)).all()

    async def touch(self, session_id: str) -> None:
        """Note that something was said."""
        await self.ask(self._touch, session=session_id, now=datetime.now(UTC))

    @prepared
    def _touch(self) -> Update:
        said = self.update_rows(SessionRow).where(SessionRow.id == bindparam("session"))
        return said.values(updated_at=bindparam("now")).execution_options(synchronize_session=False)

    async def remove(self, session_id: str) -> bool:
        """Delete the session with its messages and all that is derived from them; whether it was there."""
        await self.hold_chats([session_id])
        await FactBlocks(self.session, self.owner).cut(session_id)
        await StoredPassages(self.session, self.owner).cut(session_id, 0, purge=True)
        result = await self.session.execute(
            self.delete(SessionRow).where(SessionRow.id == session_id).returning(SessionRow.id)
        )
        return result.one_or_none() is not None
