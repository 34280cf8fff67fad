"""The home folders of all processes on one database, and the deletions that each is still to carry out."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Select, delete, exists, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.storage.deletion_tables import DeletionRow
from app.storage.home_tables import DeletionHomeRow, HomeRow


class Homes:
    """The homes of a database, inside one unit of work. What they keep is of all owners."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def register(self, home_id: str, host: str, *, has_copies: bool) -> None:
        """Note that a home is in use. One that is new here owes the deletions that are pending; if copies are
        in it already, all that there ever were.
        """
        seen = update(HomeRow).where(HomeRow.id == home_id).values(host=host, seen_at=datetime.now(UTC))
        if (await self._session.execute(seen.returning(HomeRow.id))).first() is not None:
            return
        self._session.add(HomeRow(owner="", id=home_id, host=host, seen_at=datetime.now(UTC)))
        await self._session.flush()
        owed = select(DeletionRow.owner, DeletionRow.id, literal(home_id))
        if not has_copies:
            owed = owed.where(DeletionRow.status == "pending")
        await self._owe(owed)

    async def note_seen(self, home_id: str) -> None:
        seen = update(HomeRow).where(HomeRow.id == home_id)
        await self._session.execute(seen.values(seen_at=datetime.now(UTC)))

    async def owe_all(self, deletion_id: str) -> None:
        """Have all homes carry out a deletion."""
        await self._owe(
            select(DeletionRow.owner, DeletionRow.id, HomeRow.id)
            .join(HomeRow, literal(True))
            .where(DeletionRow.id == deletion_id)
        )

    async def owed_by(self, home_id: str) -> list[tuple[str, str]]:
        """The owners and ids of the deletions that a home is still to carry out, oldest first.

        Any home finishes those that were left to one which is waited for no more.
        """
        owed = exists().where(DeletionHomeRow.deletion_id == DeletionRow.id)
        query = (
            select(DeletionRow.owner, DeletionRow.id)
            .where(
                owed.where(DeletionHomeRow.home_id == home_id) | ((DeletionRow.status == "pending") & ~owed)
            )
            .order_by(DeletionRow.requested_at, DeletionRow.id)
        )
        return [(row.owner, row.id) for row in (await self._session.execute(query)).all()]

    async def owing(self, deletion_id: str) -> Sequence[HomeRow]:
        """The homes that are still to carry out a deletion."""
        query = (
            select(HomeRow)
            .join(DeletionHomeRow, DeletionHomeRow.home_id == HomeRow.id)
            .where(DeletionHomeRow.deletion_id == deletion_id)
        )
        return (await self._session.scalars(query.order_by(HomeRow.id))).all()

    async def carried_out(self, home_id: str, deletion_id: str) -> None:
        await self._session.execute(
            delete(DeletionHomeRow).where(
                DeletionHomeRow.home_id == home_id, DeletionHomeRow.deletion_id == deletion_id
            )
        )

    async def list(self) -> Sequence[tuple[HomeRow, int]]:
        """All homes, the one that was seen last first, with how many deletions each is to carry out."""
        query = (
            select(HomeRow, func.count(DeletionHomeRow.deletion_id))
            .outerjoin(DeletionHomeRow, DeletionHomeRow.home_id == HomeRow.id)
            .group_by(HomeRow.id)
            .order_by(HomeRow.seen_at.desc(), HomeRow.id)
        )
        return [(row, count) for row, count in (await self._session.execute(query)).all()]

    async def forget(self, home_id: str) -> bool:
        """Wait for a home no more; whether it was known."""
        done = delete(HomeRow).where(HomeRow.id == home_id).returning(HomeRow.id)
        return (await self._session.execute(done)).first() is not None

    async def _owe(self, owed: Select[str, str, str]) -> None:
        columns = ["owner", "deletion_id", "home_id"]
        await self._session.execute(insert(DeletionHomeRow).from_select(columns, owed))
