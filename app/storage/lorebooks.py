"""The lorebooks of chat sessions. An entry made of a message tells what that message says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select

from app.ids import new_id
from app.storage.repository import Repository
from app.storage.tables import LoreEntryRow, MessageRow
from memory.lore import LoreEntry


@dataclass(frozen=True, slots=True)
class StoredLoreEntry:
    """An entry, and the message that it is made of, if it is."""

    entry: LoreEntry
    message_id: str | None
    created_at: datetime


class SessionLore(Repository):
    """The lorebook entries of one owner's sessions."""

    async def list(self, session_id: str) -> list[StoredLoreEntry]:
        """In the order in which they were made."""
        return [_stored(row, said) for row, said in await self._rows(session_id)]

    async def create(
        self, session_id: str, *, message_id: str | None, content: str | None, settings: dict[str, Any]
    ) -> str:
        """Add an entry; gives its id. `settings`: the other fields of a `LoreEntry`."""
        await self.hold_chats([session_id])
        query = self.select_columns(LoreEntryRow, func.max(LoreEntryRow.number)).where(
            LoreEntryRow.session_id == session_id
        )
        last = (await self.session.execute(query)).scalar_one()
        row = LoreEntryRow(
            id=new_id("lor"),
            session_id=session_id,
            number=0 if last is None else last + 1,
            message_id=message_id,
            content=content,
            settings=settings,
            created_at=datetime.now(UTC),
        )
        self.add(row)
        await self.session.flush()
        return row.id

    async def copy(self, session_id: str, to_session: str, copies: Mapping[str, str]) -> None:
        """Give a session that has none yet the same entries; those made of messages are made of their
        `copies`, by id, or of what they say where there is none."""
        for number, (row, said) in enumerate(await self._rows(session_id)):
            message_id = copies.get(row.message_id) if row.message_id else None
            self.add(
                LoreEntryRow(
                    id=new_id("lor"),
                    session_id=to_session,
                    number=number,
                    message_id=message_id,
                    content=None if message_id else _stored(row, said).entry.content,
                    settings=row.settings,
                    created_at=datetime.now(UTC),
                )
            )
        await self.session.flush()

    async def update(self, session_id: str, entry_id: str, changes: dict[str, Any]) -> bool:
        """Change fields of an entry; whether it is there."""
        query = self.select(LoreEntryRow).where(
            LoreEntryRow.session_id == session_id, LoreEntryRow.id == entry_id
        )
        row = (await self.session.scalars(self.held(query))).one_or_none()
        if row is None:
            return False
        if "content" in changes:
            row.content, row.message_id = changes["content"], None
        settings = {name: value for name, value in changes.items() if name != "content"}
        row.settings = row.settings | settings
        await self.session.flush()
        return True

    async def remove(self, session_id: str, entry_id: str) -> bool:
        """Delete an entry; whether it was there."""
        done = await self.session.execute(
            self.delete(LoreEntryRow)
            .where(LoreEntryRow.session_id == session_id, LoreEntryRow.id == entry_id)
            .returning(LoreEntryRow.id)
        )
        return done.one_or_none() is not None

    async def _rows(self, session_id: str) -> Sequence[tuple[LoreEntryRow, str | None]]:
        """The entries in their order, with what the messages say that they are made of."""
        query = (
            select(LoreEntryRow, MessageRow.content)
            .outerjoin(MessageRow, MessageRow.id == LoreEntryRow.message_id)
            .where(self.is_own(LoreEntryRow), LoreEntryRow.session_id == session_id)
            .order_by(LoreEntryRow.number)
        )
        return [(row, said) for row, said in (await self.session.execute(query)).all()]


def _stored(row: LoreEntryRow, said: str | None) -> StoredLoreEntry:
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in row.settings.items()
    }
    entry = LoreEntry(id=row.id, content=(said if row.message_id else row.content) or "", **settings)
    return StoredLoreEntry(entry, row.message_id, row.created_at)
