"""Shelves: where the passages of a user with a persona stand, or those of one chat of no named user."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Select, String, and_, bindparam, func, not_, or_, select

from app.ids import new_id
from app.storage.recall_tables import IS_TOMBSTONE, PassageRow, ShelfRow
from app.storage.repository import Found, Repository, prepared
from app.storage.tables import SessionRow
from memory.strategies.recalling import RecallScope


@dataclass(frozen=True, slots=True)
class ShelfState:
    """How far a shelf has come, as `ShelfRow` says it."""

    id: str
    last_change: int
    purged_at: int
    tidied_to: int


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be recalled: all of some shelves, and of others what is of one session.

    It comes from that one session, and from those of a user, if one is named: with one persona, with none
    (''), or with any (None).
    """

    whole: tuple[str, ...]
    own: tuple[str, ...] = ()
    session_id: str | None = None
    user_id: str | None = None
    persona_id: str | None = None

    def holds(self, shelf_id: str, source: str) -> bool:
        return shelf_id in self.whole or (shelf_id in self.own and source == self.session_id)

    @property
    def shelves(self) -> tuple[str, ...]:
        return (*self.whole, *self.own)


class Shelves(Repository):
    """The shelves of one owner."""

    async def place(self, chat: SessionRow, persona_ids: Collection[str | None]) -> dict[str | None, str]:
        """The shelves for what is said in a session, by persona; made where there are none yet."""
        user_id = chat.user_id or ""
        session_id = "" if user_id else chat.id
        places = {
            each: ("chats", user_id, (each or "") if user_id else "", session_id) for each in persona_ids
        }
        await self.hold_names({_name(*place) for place in places.values()})
        return {persona_id: await self._place(*place) for persona_id, place in places.items()}

    async def place_documents(self, user_id: str | None) -> str:
        """The shelf for the documents of a user, or for everybody's; made if there is none yet."""
        place = ("documents", user_id or "", "", "")
        await self.hold_names([_name(*place)])
        return await self._place(*place)

    async def next_changes(self, shelf_ids: Collection[str], *, purge: bool = False) -> dict[str, int]:
        """The numbers of the changes that this unit of work makes, by those of the shelves that are there.

        Whoever makes another one waits until this one is committed, so the numbers appear in order.
        """
        is_one = ShelfRow.id.in_(shelf_ids)
        # All at once and in one order, so that no two wait for each other; an update has none.
        await self.hold(self.select_columns(ShelfRow, ShelfRow.id).where(is_one).order_by(ShelfRow.id))
        values = {"last_change": ShelfRow.last_change + 1}
        if purge:
            values["purged_at"] = ShelfRow.last_change + 1
        changed = self.update_rows(ShelfRow).where(is_one).values(**values)
        numbers = await self.session.execute(changed.returning(ShelfRow.id, ShelfRow.last_change))
        return {row.id: row.last_change for row in numbers.all()}

    async def in_scope(self, chat: SessionRow, scope: RecallScope) -> Scope:
        """What a session recalls from; without a user it is always the session itself."""
        own = await self.of_session(chat.id)
        if chat.user_id is None or scope == "chat":
            return Scope((), tuple(own), chat.id)
        persona_id = None if scope == "user" else chat.persona_id or ""
        of_user = await self.of_user(chat.user_id, persona_id)
        others = tuple(shelf_id for shelf_id in own if shelf_id not in of_user.whole)
        return replace(of_user, own=others, session_id=chat.id)

    async def of_user(self, user_id: str, persona_id: str | None) -> Scope:
        """All of a user, or what is of the user with one persona; '' for what is of none."""
        found = await self.ask(self._of_user, user=user_id, **of_personas(persona_id))
        return Scope(tuple(found.scalars().all()), user_id=user_id, persona_id=persona_id)

    @prepared
    def _of_user(self) -> Select[Any]:
        query = self.select_columns(ShelfRow, ShelfRow.id).where(
            ShelfRow.kind == "chats",
            ShelfRow.user_id == bindparam("user"),
            is_of_personas(ShelfRow.persona_id),
        )
        return query.order_by(ShelfRow.id)

    async def of_documents(self, user_id: str | None) -> Scope:
        """Everybody's documents, and those of the user."""
        query = self.select_columns(ShelfRow, ShelfRow.id).where(
            ShelfRow.kind == "documents", ShelfRow.user_id.in_(("", user_id or ""))
        )
        found = (await self.session.scalars(query.order_by(ShelfRow.id))).all()
        return Scope(tuple(found))

    async def of_session(self, session_id: str) -> list[str]:
        """The shelves on which something of a session stands or stood."""
        return list((await self.ask(self._of_session, session=session_id)).scalars().all())

    @prepared
    def _of_session(self) -> Select[Any]:
        held = self._holding(bindparam("session", type_=String()))
        query = self.select_columns(ShelfRow, ShelfRow.id).where(ShelfRow.id.in_(held))
        return query.order_by(ShelfRow.id)

    async def all(self) -> list[ShelfState]:
        return _read(await self.session.execute(self._states()))

    async def states(self, shelf_ids: Sequence[str]) -> list[ShelfState]:
        return _read(await self.ask(self._some_states, shelves=shelf_ids)) if shelf_ids else []

    @prepared
    def _some_states(self) -> Select[Any]:
        return self._states().where(ShelfRow.id.in_(bindparam("shelves", expanding=True)))

    async def state(self, shelf_id: str) -> ShelfState | None:
        found = _read(await self.ask(self._state, shelf=shelf_id))
        return found[0] if found else None

    @prepared
    def _state(self) -> Select[Any]:
        return self._states().where(ShelfRow.id == bindparam("shelf"))

    async def sizes(self, user_id: str | None = None) -> list[tuple[ShelfRow, int]]:
        """All shelves, or those of one user, with how many passages stand on each."""
        standing = and_(PassageRow.shelf_id == ShelfRow.id, PassageRow.is_gone.is_(False))
        query = (
            select(ShelfRow, func.count(PassageRow.shelf_id))
            .outerjoin(PassageRow, standing)
            .where(self.is_own(ShelfRow))
            .group_by(ShelfRow.id)
            .order_by(ShelfRow.id)
        )
        if user_id is not None:
            query = query.where(ShelfRow.user_id == user_id)
        return [(row, count) for row, count in (await self.session.execute(query)).all()]

    async def is_untidy(self, shelf_id: str, through: int) -> bool:
        """Whether the shelf is there, and `tidy` would do anything."""
        return bool((await self.ask(self._is_untidy, shelf=shelf_id, through=through)).scalar_one_or_none())

    @prepared
    def _is_untidy(self) -> Select[Any]:
        rows = self.select_columns(PassageRow, PassageRow.source).where(
            PassageRow.shelf_id == bindparam("shelf", type_=String())
        )
        tombstones = rows.where(IS_TOMBSTONE, PassageRow.change <= bindparam("through"))
        query = self.select_columns(ShelfRow, or_(tombstones.exists(), not_(rows.exists())))
        return query.where(ShelfRow.id == bindparam("shelf", type_=String()))

    async def tidy(self, shelf_id: str, through: int) -> bool:
        """Let go of the tombstones up to that change; whether the shelf is gone too, being empty."""
        rows = await self.session.scalars(self.select(ShelfRow).where(ShelfRow.id == shelf_id))
        if (place := rows.one_or_none()) is not None:
            await self.hold_names([_name(place.kind, place.user_id, place.persona_id, place.session_id)])
        tombstones = (PassageRow.shelf_id == shelf_id, IS_TOMBSTONE, PassageRow.change <= through)
        newest = self.select_columns(PassageRow, func.max(PassageRow.change)).where(*tombstones)
        tidied_to = (await self.session.execute(newest)).scalar_one()
        if tidied_to is not None:
            shelf = await self.state(shelf_id)
            tidied_to = max(tidied_to, shelf.tidied_to if shelf else 0)
            await self.session.execute(self.delete(PassageRow).where(*tombstones))
            await self.session.execute(
                self.update_rows(ShelfRow).where(ShelfRow.id == shelf_id).values(tidied_to=tidied_to)
            )
        left = self.select_columns(PassageRow, PassageRow.source).where(PassageRow.shelf_id == shelf_id)
        if (await self.session.execute(left.limit(1))).first() is not None:
            return False
        await self.session.execute(self.delete(ShelfRow).where(ShelfRow.id == shelf_id))
        return True

    async def _place(self, kind: str, user_id: str, persona_id: str, session_id: str) -> str:
        place = {"kind": kind, "user_id": user_id, "persona_id": persona_id, "session_id": session_id}
        found = (await self.session.scalars(self.select(ShelfRow).filter_by(**place))).one_or_none()
        if found is None:
            found = ShelfRow(id=new_id("shf"), last_change=0, purged_at=0, tidied_to=0, **place)
            self.add(found)
            await self.session.flush()
        return found.id

    def _holding(self, session_id: Any) -> Select[Any]:
        """The shelves of a session's passages, found one after the other: there are few of them."""
        next_one = self.select_columns(PassageRow, func.min(PassageRow.shelf_id).label("id")).where(
            PassageRow.source == session_id
        )
        held = next_one.cte("held", recursive=True)
        after = next_one.where(PassageRow.shelf_id > held.c.id).correlate(held).scalar_subquery()
        held = held.union_all(select(after).where(held.c.id.is_not(None)))
        return select(held.c.id).where(held.c.id.is_not(None))

    def _states(self) -> Select[Any]:
        state = (ShelfRow.id, ShelfRow.last_change, ShelfRow.purged_at, ShelfRow.tidied_to)
        return self.select_columns(ShelfRow, *state).order_by(ShelfRow.id)


def of_personas(persona_id: str | None) -> dict[str, Any]:
    """What `is_of_personas` asks for: one persona, '' for none, None for any."""
    return {"any_persona": persona_id is None, "persona": persona_id or ""}


def is_of_personas(persona_id: Any) -> ColumnElement[bool]:
    """Whether a column names the persona that is asked for, in prepared queries."""
    is_that = func.coalesce(persona_id, "") == bindparam("persona", type_=String())
    return or_(bindparam("any_persona", type_=Boolean()), is_that)


def _read(states: Found) -> list[ShelfState]:
    return [ShelfState(*row) for row in states.all()]


def _name(kind: str, user_id: str, persona_id: str, session_id: str) -> str:
    """Of the place of a shelf: whoever puts it there holds that, and who takes it away."""
    return f"shelf {kind} {session_id} {persona_id} {user_id}"
