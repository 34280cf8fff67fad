"""Shelves: where the passages of a user with a persona stand, or those of one chat of no named user."""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, func, or_

from app.ids import new_id
from app.storage.repository import Repository
from app.storage.tables import PassageRow, SessionRow, ShelfRow

RecallScope = Literal["chat", "persona", "user"]
"""This chat's passages; those of its user with its persona, and this chat's own; all of its user."""


@dataclass(frozen=True, slots=True)
class ShelfState:
    """How far a shelf has come, as `ShelfRow` says it."""

    id: str
    last_change: int
    purged_at: int
    tidied_to: int


class Shelves(Repository):
    """The shelves of one owner."""

    async def place(self, chat: SessionRow, persona_id: str | None) -> str:
        """The shelf for what is said in a session under a persona; made if there is none yet."""
        user_id = chat.user_id or ""
        place = {
            "user_id": user_id,
            "persona_id": (persona_id or "") if user_id else "",
            "session_id": "" if user_id else chat.id,
        }
        found = (await self.session.scalars(self.select(ShelfRow).filter_by(**place))).one_or_none()
        if found is None:
            found = ShelfRow(id=new_id("shf"), last_change=0, purged_at=0, tidied_to=0, **place)
            self.add(found)
            await self.session.flush()
        return found.id

    async def next_change(self, shelf_id: str, *, purge: bool = False) -> int:
        """The number of a change that this unit of work makes.

        Whoever makes another one waits until this one is committed, so the numbers appear in order.
        """
        values = {"last_change": ShelfRow.last_change + 1}
        if purge:
            values["purged_at"] = ShelfRow.last_change + 1
        changed = self.update_rows(ShelfRow).where(ShelfRow.id == shelf_id).values(**values)
        return int((await self.session.execute(changed.returning(ShelfRow.last_change))).scalar_one())

    async def in_scope(self, chat: SessionRow, scope: RecallScope) -> list[ShelfState]:
        """The shelves that a session recalls from; without a user it is always its own."""
        if chat.user_id is None or scope == "chat":
            return await self._states(ShelfRow.id.in_(self._holding(chat.id)))
        if scope == "user":
            return await self._states(ShelfRow.user_id == chat.user_id)
        with_persona = (ShelfRow.user_id == chat.user_id) & (ShelfRow.persona_id == (chat.persona_id or ""))
        return await self._states(or_(with_persona, ShelfRow.id.in_(self._holding(chat.id))))

    async def of_user(self, user_id: str, persona_id: str | None) -> list[ShelfState]:
        """All shelves of a user, or the one of a user with a persona."""
        conditions = [ShelfRow.user_id == user_id]
        if persona_id is not None:
            conditions.append(ShelfRow.persona_id == persona_id)
        return await self._states(*conditions)

    async def of_session(self, session_id: str) -> list[str]:
        """The shelves on which something of a session stands or stood."""
        query = self.select_columns(ShelfRow, ShelfRow.id).where(ShelfRow.id.in_(self._holding(session_id)))
        return list((await self.session.scalars(query.order_by(ShelfRow.id))).all())

    async def all(self) -> list[ShelfState]:
        return await self._states()

    async def state(self, shelf_id: str) -> ShelfState | None:
        found = await self._states(ShelfRow.id == shelf_id)
        return found[0] if found else None

    async def passage_counts(self) -> dict[str, int]:
        """How many passages stand on each shelf; none of empty ones."""
        query = self.select_columns(PassageRow, PassageRow.shelf_id, func.count()).where(
            PassageRow.is_gone.is_(False)
        )
        rows = await self.session.execute(query.group_by(PassageRow.shelf_id))
        return {row[0]: row[1] for row in rows.all()}

    async def tidy(self, shelf_id: str, through: int) -> bool:
        """Let go of the tombstones up to that change; whether the shelf is gone too, being empty."""
        tombstones = (PassageRow.shelf_id == shelf_id, PassageRow.is_gone, PassageRow.change <= through)
        newest = self.select_columns(PassageRow, func.max(PassageRow.change)).where(*tombstones)
        tidied_to = (await self.session.execute(newest)).scalar_one()
        if tidied_to is not None:
            await self.session.execute(self.delete(PassageRow).where(*tombstones))
            await self.session.execute(
                self.update_rows(ShelfRow).where(ShelfRow.id == shelf_id).values(tidied_to=tidied_to)
            )
        left = self.select_columns(PassageRow, PassageRow.source).where(PassageRow.shelf_id == shelf_id)
        if (await self.session.execute(left.limit(1))).first() is not None:
            return False
        await self.session.execute(self.delete(ShelfRow).where(ShelfRow.id == shelf_id))
        return True

    def _holding(self, session_id: str) -> Select[Any]:
        return self.select_columns(PassageRow, PassageRow.shelf_id).where(PassageRow.source == session_id)

    async def _states(self, *conditions: ColumnElement[bool]) -> list[ShelfState]:
        query = self.select_columns(
            ShelfRow, ShelfRow.id, ShelfRow.last_change, ShelfRow.purged_at, ShelfRow.tidied_to
        ).where(*conditions)
        rows = await self.session.execute(query.order_by(ShelfRow.id))
        return [ShelfState(*row) for row in rows.all()]
