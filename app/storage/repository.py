"""Where every query gets its owner: repositories read and write the rows of one owner only."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import Delete, Select, Update, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.storage.tables import Owned, SessionRow, ShelfRow, Table

Row = TypeVar("Row", bound=Table)
INSERTED_AT_ONCE = 1000


class Repository:
    """Rows of one owner, inside one unit of work."""

    def __init__(self, session: AsyncSession, owner: str) -> None:
        self.session = session
        self.owner = owner

    def select(self, table: type[Row]) -> Select[Row]:
        return select(table).where(_owner_of(table) == self.owner)

    def select_columns(self, table: type[Table], *columns: Any) -> Select[Any]:
        return select(*columns).select_from(table).where(_owner_of(table) == self.owner)

    def update_rows(self, table: type[Table]) -> Update:
        return update(table).where(_owner_of(table) == self.owner)

    def delete(self, table: type[Table]) -> Delete:
        return delete(table).where(_owner_of(table) == self.owner)

    def add(self, row: Table) -> None:
        assert isinstance(row, Owned)
        row.owner = self.owner
        self.session.add(row)

    async def insert(self, table: type[Table], rows: Sequence[dict[str, Any]]) -> None:
        """Store many rows, given as plain data, in their order."""
        assert issubclass(table, Owned)
        for start in range(0, len(rows), INSERTED_AT_ONCE):
            batch = [row | {"owner": self.owner} for row in rows[start : start + INSERTED_AT_ONCE]]
            await self.session.execute(insert(table), batch)


def _owner_of(table: type[Table]) -> Any:
    assert issubclass(table, Owned)
    return table.owner


async def owners(session: AsyncSession) -> list[str]:
    """All owners that have chats or shelves: the background works for each of them in turn."""
    query = select(SessionRow.owner).union(select(ShelfRow.owner))
    return sorted((await session.scalars(query)).all())


async def shelf_ids(session: AsyncSession) -> set[str]:
    """The ids of the shelves of all owners: an index of any other is left over."""
    return set((await session.scalars(select(ShelfRow.id))).all())
