"""Messages, in the order in which they were said, and the context records of replies."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

from app.ids import new_id
from app.storage.repository import Repository
from app.storage.tables import ContextRecordRow, MessageRow
from memory.messages import Role, number_turns

MessageStatus = Literal["complete", "generating", "interrupted"]


@dataclass(frozen=True, slots=True)
class MessageDraft:
    """A message to be stored. Without `created_at` it was said now."""

    role: Role
    content: str
    created_at: datetime | None = None
    id: str | None = None
    status: MessageStatus = "complete"
    model: str | None = None


class Messages(Repository):
    """The messages of one owner."""

    async def last(self, session_id: str) -> MessageRow | None:
        query = self.select(MessageRow).where(MessageRow.session_id == session_id)
        return (await self.session.scalars(query.order_by(MessageRow.position.desc()).limit(1))).one_or_none()

    async def append(self, session_id: str, drafts: Sequence[MessageDraft]) -> list[MessageRow]:
        """Store messages behind the last one."""
        last = await self.last(session_id)
        turns = number_turns(
            [draft.role for draft in drafts],
            last_turn=last.turn if last else -1,
            last_role=cast(Role, last.role) if last else None,
        )
        first_position = last.position + 1 if last else 0
        now = datetime.now(UTC)
        rows = [
            MessageRow(
                id=draft.id or new_id("msg"),
                session_id=session_id,
                position=first_position + index,
                turn=turn,
                role=draft.role,
                content=draft.content,
                status=draft.status,
                model=draft.model,
                created_at=draft.created_at or now,
            )
            for index, (draft, turn) in enumerate(zip(drafts, turns, strict=True))
        ]
        for row in rows:
            self.add(row)
        await self.session.flush()
        return rows

    async def get(self, message_id: str) -> MessageRow | None:
        return (
            await self.session.scalars(self.select(MessageRow).where(MessageRow.id == message_id))
        ).one_or_none()

    async def get_many(self, message_ids: Sequence[str]) -> dict[str, MessageRow]:
        found: dict[str, MessageRow] = {}
        for start in range(0, len(message_ids), 500):
            query = self.select(MessageRow).where(MessageRow.id.in_(message_ids[start : start + 500]))
            found |= {row.id: row for row in (await self.session.scalars(query)).all()}
        return found

    async def list(
        self, session_id: str, *, after: int | None, limit: int, newest_first: bool
    ) -> list[MessageRow]:
        """A page of messages, from behind position `after` on in the order asked for."""
        query = self.select(MessageRow).where(MessageRow.session_id == session_id)
        if newest_first:
            query = query.order_by(MessageRow.position.desc())
            if after is not None:
                query = query.where(MessageRow.position < after)
        else:
            query = query.order_by(MessageRow.position)
            if after is not None:
                query = query.where(MessageRow.position > after)
        return list((await self.session.scalars(query.limit(limit))).all())

    async def interrupt_unfinished(self, session_id: str | None = None) -> None:
        """Mark the replies, of one session or of all, that nobody generates any more."""
        query = self.select(MessageRow).where(MessageRow.status == "generating")
        if session_id is not None:
            query = query.where(MessageRow.session_id == session_id)
        for row in (await self.session.scalars(query)).all():
            row.status = "interrupted"

    async def keep_record(self, message: MessageRow, record: dict[str, Any]) -> None:
        self.add(ContextRecordRow(message_id=message.id, session_id=message.session_id, record=record))

    async def newest_record(self, session_id: str) -> tuple[int, dict[str, Any]] | None:
        """The context record of the newest reply that has one, and the reply's turn."""
        query = (
            self.select_columns(ContextRecordRow, MessageRow.turn, ContextRecordRow.record)
            .join(MessageRow, MessageRow.id == ContextRecordRow.message_id)
            .where(MessageRow.session_id == session_id)
            .order_by(MessageRow.position.desc())
            .limit(1)
        )
        row = (await self.session.execute(query)).one_or_none()
        return (row.turn, row.record) if row else None

    async def record(self, message_id: str) -> dict[str, Any] | None:
        query = self.select(ContextRecordRow).where(ContextRecordRow.message_id == message_id)
        row = (await self.session.scalars(query)).one_or_none()
        return row.record if row else None
