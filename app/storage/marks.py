"""Marks on messages: pinned into the window, or excluded from it, from one time to another."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, cast

from sqlalchemy import Select

from app.ids import new_id
from app.storage.repository import Repository, batches
from app.storage.tables import MessageMarkRow, MessageRow

MarkKind = Literal["pinned", "excluded"]


class Marks(Repository):
    """The marks on one owner's messages. One that has ended is kept, and no longer stands."""

    async def mark(self, message: MessageRow, kind: MarkKind) -> bool:
        """Mark the message; whether it was not marked so before."""
        await self.hold_chats([message.session_id])
        if await self._standing(message.id, kind) is not None:
            return False
        self._add(message, kind)
        await self.session.flush()
        return True

    async def unmark(self, message: MessageRow, kind: MarkKind) -> bool:
        """Take a mark away; whether it stood."""
        await self.hold_chats([message.session_id])
        row = await self._standing(message.id, kind)
        if row is None:
            return False
        row.ended_at = datetime.now(UTC)
        await self.session.flush()
        return True

    async def of(self, message_ids: Sequence[str]) -> Mapping[str, frozenset[MarkKind]]:
        """The marks that stand on each of these messages; empty for one without."""
        found: defaultdict[str, frozenset[MarkKind]] = defaultdict(frozenset)
        for batch in batches(message_ids):
            query = self.select(MessageMarkRow).where(
                MessageMarkRow.message_id.in_(batch),
                MessageMarkRow.ended_at.is_(None),
            )
            for row in (await self.session.scalars(query)).all():
                found[row.message_id] |= {cast(MarkKind, row.kind)}
        return found

    async def copy(self, copies: Mapping[str, MessageRow]) -> None:
        """Let the marks of messages, given by id, stand on their copies too."""
        for message_id, kinds in (await self.of(list(copies))).items():
            for kind in kinds:
                self._add(copies[message_id], kind)
        await self.session.flush()

    def turns_marked(self, session_id: str, kind: MarkKind) -> Select[Any]:
        """Asks for the turns of the active path that hold a message marked so."""
        return self._marked(session_id).where(MessageMarkRow.kind == kind)

    async def marked_turns(self, session_id: str) -> Mapping[MarkKind, set[int]]:
        """The turns of the active path that hold a message marked so, by kind."""
        query = self._marked(session_id).add_columns(MessageMarkRow.kind)
        found: defaultdict[MarkKind, set[int]] = defaultdict(set)
        for turn, kind in (await self.session.execute(query)).all():
            found[cast(MarkKind, kind)].add(turn)
        return found

    async def excluded_turns(self, session_id: str) -> set[int]:
        """The turns of the active path that hold an excluded message."""
        return set((await self.session.scalars(self.turns_marked(session_id, "excluded"))).all())

    def _marked(self, session_id: str) -> Select[Any]:
        return (
            self.select_columns(MessageMarkRow, MessageRow.turn)
            .join(MessageRow, MessageRow.id == MessageMarkRow.message_id)
            .where(
                MessageMarkRow.session_id == session_id,
                MessageMarkRow.ended_at.is_(None),
                MessageRow.is_active,
            )
        )

    def _add(self, message: MessageRow, kind: MarkKind) -> None:
        self.add(
            MessageMarkRow(
                id=new_id("mrk"),
                session_id=message.session_id,
                message_id=message.id,
                kind=kind,
                created_at=datetime.now(UTC),
            )
        )

    async def _standing(self, message_id: str, kind: MarkKind) -> MessageMarkRow | None:
        query = self.select(MessageMarkRow).where(
            MessageMarkRow.message_id == message_id,
            MessageMarkRow.kind == kind,
            MessageMarkRow.ended_at.is_(None),
        )
        return (await self.session.scalars(query)).one_or_none()
