"""Chat sessions."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from app.ids import new_id
from app.storage.fact_blocks import FactBlocks
from app.storage.passages import StoredPassages
from app.storage.personas import behind
from app.storage.repository import Repository
from app.storage.tables import MessageRow, SessionRow


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
        query = self.held(self.select(SessionRow).where(SessionRow.id == session_id))
        return (await self.session.scalars(query)).one_or_none()

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
        await self.session.execute(
            self.update_rows(SessionRow)
            .where(SessionRow.id == session_id, SessionRow.updated_at == changed_at)
            .values(kept_up_at=changed_at)
        )

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
        await self.update(session_id, {})

    async def remove(self, session_id: str) -> bool:
        """Delete the session with its messages and all that is derived from them; whether it was there."""
        await self.hold_chats([session_id])
        await FactBlocks(self.session, self.owner).cut(session_id)
        await StoredPassages(self.session, self.owner).cut(session_id, 0, purge=True)
        result = await self.session.execute(
            self.delete(SessionRow).where(SessionRow.id == session_id).returning(SessionRow.id)
        )
        return result.one_or_none() is not None
