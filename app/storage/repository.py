"""Where every query gets its owner: repositories read and write the rows of one owner only.

An owner may be narrowed to one of its users (`UserOfOwner`): then they are that user's rows.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any, TypeVar, cast

from sqlalchemy import (
    ColumnElement,
    Delete,
    Insert,
    Result,
    Select,
    TableClause,
    Update,
    bindparam,
    delete,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from app.storage.claims import CLAIMS, chat_claim
from app.storage.deletion_tables import DeletionRow
from app.storage.idempotency_tables import IdempotencyKeyRow
from app.storage.recall_tables import DocumentRow, ShelfRow
from app.storage.tables import Owned, SessionRow, Table

Row = TypeVar("Row", bound=Table)
Asked = TypeVar("Asked", bound=Select[Any])
Item = TypeVar("Item")
Query = Select[*tuple[Any, ...]] | Update
Found = Result[*tuple[Any, ...]]
INSERTED_AT_ONCE = 1000
NAMED_AT_ONCE = 500
"""Ids in one query: databases bound them."""
HOLDS_ROWS = "holds rows"
"""In `AsyncSession.info`: whether other units of work write at the same time as this one does."""


class UserOfOwner(str):
    """An owner, narrowed to one of its users: the name of the owner wherever one is asked for.

    As a kind of name it goes wherever the owner goes, so that no way to the tables loses the user.
    """

    user_id: str

    def __new__(cls, owner: str, user_id: str) -> "UserOfOwner":
        self = super().__new__(cls, owner)
        self.user_id = user_id
        return self

    @property
    def digest(self) -> str:
        """Stands for the user where names of users are not to be."""
        return sha256(self.user_id.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Whose:
    """Whose rows a query is for: an owner's, or those of one of its users. Values, or parameters for them."""

    owner: Any
    user_id: Any = None
    user_digest: Any = None


_OWNER, _USER_ID, _USER_DIGEST = "own rows of", "of user", "of user digest"
_ANY_OWNER = _Whose(bindparam(_OWNER))
_ANY_USER = _Whose(bindparam(_OWNER), bindparam(_USER_ID), bindparam(_USER_DIGEST))


class prepared:  # noqa: N801
    """A query of a repository that is built once and not anew each time, which takes longer than to run it.

    The method that builds it has a repository of no owner: whose rows are meant is a parameter, which
    `Repository.ask` gives, and without which the query does not run. What else differs from time to time is a
    `bindparam`.
    """

    def __init__(self, build: Callable[[Any], Query]) -> None:
        self._build = build
        self._built: dict[str, Query] = {}

    def __set_name__(self, repository: type["Repository"], _name: str) -> None:
        self._repository = repository

    def of(self, whose: _Whose) -> Query:
        """The query for any owner, or if these are a user's rows, for any user."""
        kind, anybody = ("user", _ANY_USER) if whose.user_id is not None else ("owner", _ANY_OWNER)
        if kind not in self._built:
            blank = object.__new__(self._repository)
            blank.whose = anybody
            self._built[kind] = self._build(blank)
        return self._built[kind]


def bound_to(owner: str) -> str | None:
    """The user that an owner is narrowed to, if it is to one."""
    return owner.user_id if isinstance(owner, UserOfOwner) else None


class Repository:
    """Rows of one owner, inside one unit of work.

    A unit that writes holds the rows that it decides by: the row of a chat session stands for all that is in
    the session and is derived from it. It is held before these are read, and before anything else of it is
    written, so that no two units wait for each other.
    """

    def __init__(self, session: AsyncSession, owner: str) -> None:
        self.session = session
        self.owner = owner
        self.whose = (
            _Whose(owner, owner.user_id, owner.digest) if isinstance(owner, UserOfOwner) else _Whose(owner)
        )

    def is_own(self, table: type[Table]) -> ColumnElement[bool]:
        """Whether a row is the owner's, and its user's: the condition of every query."""
        is_owners: ColumnElement[bool] = _owner_of(table) == self.whose.owner
        if self.whose.user_id is None:
            return is_owners
        return is_owners & _is_of_user(table, self.whose)

    async def ask(self, query: prepared, *, holds: bool = False, **values: Any) -> Found:
        """What a prepared query finds with these values; `holds`: as `held`."""
        built, whose = query.of(self.whose), self.whose
        parameters = {_OWNER: whose.owner, **values}
        if whose.user_id is not None:
            parameters |= {_USER_ID: whose.user_id, _USER_DIGEST: whose.user_digest}
        asked = self.held(built) if holds and isinstance(built, Select) else built
        found: Found
        if _makes_objects(built):
            found = await self.session.execute(asked, parameters)
        else:
            found = await self.session.run_sync(_past_the_objects, asked, [parameters])
        return found

    def select(self, table: type[Row]) -> Select[Row]:
        return select(table).where(self.is_own(table))

    def select_columns(self, table: type[Table], *columns: Any) -> Select[Any]:
        return select(*columns).select_from(table).where(self.is_own(table))

    def update_rows(self, table: type[Table]) -> Update:
        return update(table).where(self._may_change(table))

    def delete(self, table: type[Table]) -> Delete:
        return delete(table).where(self._may_change(table))

    def _may_change(self, table: type[Table]) -> ColumnElement[bool]:
        """As `is_own`, but for everybody's documents, which a user may read only."""
        if table is DocumentRow and isinstance(self.owner, UserOfOwner):
            return self.is_own(table) & (DocumentRow.user_id == self.owner.user_id)
        return self.is_own(table)

    def held(self, query: Asked) -> Asked:
        """Asks for rows as they are now; of a unit that writes, no other changes them before it ends.

        Others may refer to them meanwhile. Where there is one writer at a time that is so anyhow.
        """
        if not self.session.info.get(HOLDS_ROWS):
            return query
        return query.with_for_update(key_share=True).execution_options(populate_existing=True)

    async def hold(self, query: Select[Any]) -> None:
        """Hold the rows that a query asks for."""
        if self.session.info.get(HOLDS_ROWS):
            await self.session.execute(self.held(query))

    async def hold_chats(self, session_ids: Collection[str]) -> bool:
        """Hold the rows of chat sessions that are there; whether any was not held by this unit before.

        Raises ClaimLostError if this process was their one writer and is so no more.
        """
        if not self.session.info.get(HOLDS_ROWS):
            return False
        held: set[str] = self.session.info.setdefault("held chats", set())
        missing = set(session_ids) - held
        if missing:
            query = self.select_columns(SessionRow, SessionRow.id).where(SessionRow.id.in_(missing))
            await self.session.execute(self.held(query.order_by(SessionRow.id)))
            held |= missing
            # With the row held: whoever takes the claim from now on writes behind this unit.
            if claims := self.session.info.get(CLAIMS):
                await claims.check(self.session, [chat_claim(session_id) for session_id in missing])
        return bool(missing)

    async def hold_names(self, names: Collection[str]) -> None:
        """Hold names of rows that may not be there yet, so that one unit at a time makes or removes them."""
        if self.session.info.get(HOLDS_ROWS):
            for name in sorted(names):
                key = func.hashtextextended(f"{self.owner} {name}", 0)
                await self.session.execute(select(func.pg_advisory_xact_lock(key)))

    def add(self, row: Table) -> None:
        assert isinstance(row, Owned)
        row.owner = self.owner
        self.session.add(row)

    async def insert(self, table: type[Table], rows: Sequence[dict[str, Any]]) -> None:
        """Store rows, given as plain data of the same columns each, in their order.

        For those that no object is needed of, which would take three times as long.
        """
        for start in range(0, len(rows), INSERTED_AT_ONCE):
            batch = [row | {"owner": self.owner} for row in rows[start : start + INSERTED_AT_ONCE]]
            await self.session.run_sync(_past_the_objects, _insertion(table), batch)


def batches(ids: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The ids in runs that one query may name."""
    return (ids[start : start + NAMED_AT_ONCE] for start in range(0, len(ids), NAMED_AT_ONCE))


@cache
def _makes_objects(query: Query) -> bool:
    """Whether a prepared query asks for whole rows, as objects of the session."""
    return isinstance(query, Select) and any(
        isinstance(each["type"], type) for each in query.column_descriptions
    )


def _past_the_objects(session: Session, query: Query | Insert, parameters: list[dict[str, Any]]) -> Found:
    """What a query of columns finds. By the session itself, it would take half as long again."""
    session.flush()
    return session.connection().execute(query, parameters)


@cache
def _insertion(table: type[Table]) -> Insert:
    assert issubclass(table, Owned)
    columns = cast(TableClause, table.__table__)  # and not the class, whose rows would go through the session
    return insert(columns)


def _owner_of(table: type[Table]) -> Any:
    assert issubclass(table, Owned)
    return table.owner


def _is_of_user(table: Any, whose: _Whose) -> ColumnElement[bool]:
    """Whether a row is that user's, or everybody's document.

    Personas are the owner's. The digest of an idempotency key is of the user already. Passages, pieces and
    token ids name neither user nor session: the way to them goes through a shelf, a document or a message.
    """
    is_of_his: ColumnElement[bool] = true()
    of_user = SessionRow.user_id == whose.user_id
    if table is DeletionRow:
        is_of_his = DeletionRow.user_digest == whose.user_digest
    elif table is DocumentRow:
        is_of_his = (DocumentRow.user_id == whose.user_id) | DocumentRow.user_id.is_(None)
    elif table is ShelfRow:
        is_everybodys = (ShelfRow.user_id == "") & (ShelfRow.kind == "documents")
        is_of_his = (ShelfRow.user_id == whose.user_id) | is_everybodys
    elif table is SessionRow:
        is_of_his = of_user
    elif hasattr(table, "session_id") and table is not IdempotencyKeyRow:
        sessions = select(SessionRow.id).where(SessionRow.owner == whose.owner, of_user)
        is_of_his = table.session_id.in_(sessions)
    return is_of_his


async def owners(session: AsyncSession) -> list[str]:
    """All owners that have chats or shelves: the background works for each of them in turn."""
    query = select(SessionRow.owner).union(select(ShelfRow.owner))
    return sorted((await session.scalars(query)).all())


async def shelf_ids(session: AsyncSession) -> set[str]:
    """The ids of the shelves of all owners: an index of any other is left over."""
    return set((await session.scalars(select(ShelfRow.id))).all())
