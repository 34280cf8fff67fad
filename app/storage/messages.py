"""Messages, in the order in which they were said, and the context records of replies.

A chat is read along its active path; how that path changes is in `app.storage.message_tree`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

from sqlalchemy import ColumnElement, Row, Select, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased, make_transient_to_detached

from app.ids import new_id
from app.storage.repository import Repository, batches, prepared
from app.storage.tables import ON_ACTIVE_PATH, ContextRecordRow, MessageRow
from memory.messages import Role, number_turns

MessageStatus = Literal["complete", "generating", "interrupted"]
DELETED = "deleted"
"""The status of an empty place."""

_behind = aliased(MessageRow)
_NEWEST_ALTERNATIVE_BEHIND = (
    select(func.max(_behind.alternative))
    .where(_behind.session_id == MessageRow.session_id, _behind.parent_id == MessageRow.id)
    .scalar_subquery()
)


@dataclass(frozen=True, slots=True)
class MessageDraft:
    """A message to be stored. Without `created_at` it was said now. `prefix`: what was typed before it;
    `sources`: of a reply from documents.
    """

    role: Role
    content: str
    created_at: datetime | None = None
    id: str | None = None
    status: MessageStatus = "complete"
    model: str | None = None
    prefix: str | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    sources: list[dict[str, Any]] | None = None


class Messages(Repository):
    """The messages of one owner."""

    async def last(self, session_id: str) -> MessageRow | None:
        query = self.select(MessageRow).where(MessageRow.session_id == session_id, ON_ACTIVE_PATH)
        return (await self.session.scalars(query.order_by(MessageRow.position.desc()).limit(1))).one_or_none()

    async def append(self, session_id: str, drafts: Sequence[MessageDraft]) -> list[MessageRow]:
        """Store messages behind the last one of the active path."""
        await self.hold_chats([session_id])
        last, alternative = await self._last_and_next(session_id)
        parent_id = last.id if last else None
        turns = number_turns(
            [draft.role for draft in drafts],
            last_turn=last.turn if last else -1,
            last_role=cast(Role, last.role) if last else None,
        )
        first_position = last.position + 1 if last else 0
        rows: list[dict[str, Any]] = []
        for index, (draft, turn) in enumerate(zip(drafts, turns, strict=True)):
            row = _row(
                draft,
                session_id=session_id,
                parent_id=parent_id,
                alternative=0 if index else alternative,
                position=first_position + index,
                turn=turn,
                is_active=True,
            )
            parent_id = row["id"]
            rows.append(row)
        return await self._insert_messages(rows)

    async def _insert_messages(self, rows: Sequence[dict[str, Any]]) -> list[MessageRow]:
        """Store rows as plain data, and give them as objects of the session."""
        await self.insert(MessageRow, rows)
        stored = [MessageRow(owner=self.owner, **row) for row in rows]
        for row in stored:
            make_transient_to_detached(row)
            self.session.add(row)
        return stored

    async def add_alternative(self, to: MessageRow, draft: MessageDraft) -> MessageRow:
        """Store another message in the place of `to`, and leave the active path as it is."""
        await self.hold_chats([to.session_id])
        row = _row(
            draft,
            session_id=to.session_id,
            parent_id=to.parent_id,
            alternative=await self._next_alternative(to.session_id, to.parent_id),
            position=to.position,
            turn=to.turn,
            is_active=False,
        )
        [stored] = await self._insert_messages([row])
        return stored

    async def alternatives(self, message: MessageRow) -> Sequence[MessageRow]:
        """The messages that stand or stood in the place of this one, itself included, oldest first."""
        query = self.select(MessageRow).where(
            MessageRow.session_id == message.session_id,
            MessageRow.parent_id == message.parent_id,
            MessageRow.forgotten_at.is_(None),
        )
        return (await self.session.scalars(query.order_by(MessageRow.alternative))).all()

    async def _last_and_next(self, session_id: str) -> tuple[Row[Any] | None, int]:
        """Id, position, turn and role of the last message, and the number of the next one behind it among
        those that ever stood there.
        """
        last = (await self.ask(self._last_and_newest, session=session_id)).one_or_none()
        if last is None:
            return None, await self._next_alternative(session_id, None)
        return last, 0 if last.newest is None else last.newest + 1

    @prepared
    def _last_and_newest(self) -> Select[Any]:
        place = (MessageRow.id, MessageRow.position, MessageRow.turn, MessageRow.role)
        query = self.select_columns(MessageRow, *place, _NEWEST_ALTERNATIVE_BEHIND.label("newest"))
        query = query.where(MessageRow.session_id == bindparam("session"), ON_ACTIVE_PATH)
        return query.order_by(MessageRow.position.desc()).limit(1)

    async def _next_alternative(self, session_id: str, parent_id: str | None) -> int:
        newest = self.select_columns(MessageRow, func.max(MessageRow.alternative)).where(
            MessageRow.session_id == session_id, MessageRow.parent_id == parent_id
        )
        number = (await self.session.execute(newest)).scalar_one()
        return 0 if number is None else int(number) + 1

    async def get(self, message_id: str) -> MessageRow | None:
        """The message, unless it is forgotten; a unit that writes holds its chat."""
        query = self.select(MessageRow).where(MessageRow.id == message_id, MessageRow.forgotten_at.is_(None))
        row = (await self.session.scalars(query)).one_or_none()
        if row is None or not await self.hold_chats([row.session_id]):
            return row
        as_it_is_now = query.execution_options(populate_existing=True)
        return (await self.session.scalars(as_it_is_now)).one_or_none()

    async def get_many(self, message_ids: Sequence[str]) -> dict[str, MessageRow]:
        """Messages by id, forgotten ones included: the records of contexts rest on them."""
        found: dict[str, MessageRow] = {}
        for batch in batches(message_ids):
            query = self.select(MessageRow).where(MessageRow.id.in_(batch))
            found |= {row.id: row for row in (await self.session.scalars(query)).all()}
        return found

    async def list(
        self, session_id: str, *, after: int | None, limit: int, newest_first: bool
    ) -> list[MessageRow]:
        """A page of the active path, from behind position `after` on in the order asked for."""
        query = self.select(MessageRow).where(
            MessageRow.session_id == session_id, ON_ACTIVE_PATH, MessageRow.forgotten_at.is_(None)
        )
        if newest_first:
            query = query.order_by(MessageRow.position.desc())
            if after is not None:
                query = query.where(MessageRow.position < after)
        else:
            query = query.order_by(MessageRow.position)
            if after is not None:
                query = query.where(MessageRow.position > after)
        return list((await self.session.scalars(query.limit(limit))).all())

    async def first_position(self, session_id: str, turn: int) -> int:
        """The position of a turn's first message on the active path."""
        query = self.select_columns(MessageRow, func.min(MessageRow.position)).where(
            MessageRow.session_id == session_id, MessageRow.turn == turn, MessageRow.is_active
        )
        return int((await self.session.execute(query)).scalar_one())

    async def has_unfinished(self, session_id: str) -> bool:
        query = self.select_columns(MessageRow, MessageRow.id).where(
            MessageRow.status == "generating", MessageRow.session_id == session_id
        )
        return (await self.session.execute(query.limit(1))).first() is not None

    async def interrupt_unfinished(self, session_id: str) -> None:
        """Mark the replies of a session that nobody generates any more."""
        await self._interrupt(MessageRow.session_id == session_id)

    async def interrupt(self, message_id: str) -> None:
        """Mark one of these, unless it has been stored to its end meanwhile."""
        await self._interrupt(MessageRow.id == message_id)

    async def _interrupt(self, condition: ColumnElement[bool]) -> None:
        unfinished = self.update_rows(MessageRow).where(MessageRow.status == "generating", condition)
        await self.session.execute(unfinished.values(status="interrupted"))

    async def keep_record(self, message: MessageRow, record: dict[str, Any]) -> None:
        row = {"message_id": message.id, "session_id": message.session_id, "record": record}
        await self.insert(ContextRecordRow, [row])

    async def newest_record(self, session_id: str) -> tuple[int, dict[str, Any]] | None:
        """The context record of the newest reply of the active path that has one, and the reply's turn."""
        query = (
            self.select_columns(ContextRecordRow, MessageRow.turn, ContextRecordRow.record)
            .join(MessageRow, MessageRow.id == ContextRecordRow.message_id)
            .where(MessageRow.session_id == session_id, ON_ACTIVE_PATH)
            .order_by(MessageRow.position.desc())
            .limit(1)
        )
        row = (await self.session.execute(query)).one_or_none()
        return (row.turn, row.record) if row else None

    async def record(self, message_id: str) -> dict[str, Any] | None:
        query = self.select(ContextRecordRow).where(ContextRecordRow.message_id == message_id)
        row = (await self.session.scalars(query)).one_or_none()
        return row.record if row else None


async def unfinished_replies(session: AsyncSession) -> list[tuple[str, str, str]]:
    """Those of all owners that are not stored to their end: owner, session and id of each."""
    query = select(MessageRow.owner, MessageRow.session_id, MessageRow.id)
    rows = await session.execute(query.where(MessageRow.status == "generating"))
    return [(row.owner, row.session_id, row.id) for row in rows.all()]


def _row(draft: MessageDraft, **place: Any) -> dict[str, Any]:
    """A message by its columns, all of them; `place`: those that say where it stands."""
    return {
        **place,
        "forgotten_at": None,
        "copied_from": None,
        "id": draft.id or new_id("msg"),
        "role": draft.role,
        "prefix": draft.prefix,
        "content": draft.content,
        "sources": draft.sources,
        "status": draft.status,
        "model": draft.model,
        "finish_reason": draft.finish_reason,
        "usage": draft.usage,
        "created_at": draft.created_at or datetime.now(UTC),
    }
