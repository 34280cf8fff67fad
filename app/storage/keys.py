"""API keys, of all owners: a key is what says which owner a request speaks for.

The one table that is read before there is an owner; whoever runs the service makes and revokes them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.storage.key_tables import KeyRow


class Keys:
    """The keys of a database, inside one unit of work."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, row: KeyRow) -> None:
        self._session.add(row)
        await self._session.flush()

    async def usable(self, digest: str) -> KeyRow | None:
        """The key of a secret with that digest, unless it is revoked or has expired."""
        query = select(KeyRow).where(KeyRow.digest == digest, *_usable_at(datetime.now(UTC)))
        return (await self._session.scalars(query)).one_or_none()

    async def is_any_usable(self) -> bool:
        query = select(func.count()).select_from(KeyRow).where(*_usable_at(datetime.now(UTC)))
        return bool((await self._session.execute(query)).scalar_one())

    async def list(self, owner: str | None) -> Sequence[KeyRow]:
        """Oldest first; of one owner, if asked to."""
        query = select(KeyRow).order_by(KeyRow.created_at, KeyRow.id)
        if owner is not None:
            query = query.where(KeyRow.owner == owner)
        return (await self._session.scalars(query)).all()

    async def revoke(self, name: str) -> KeyRow | None:
        """Refuse the key of that id or shown prefix from now on; None if there is none, or more than one."""
        query = select(KeyRow).where(or_(KeyRow.id == name, KeyRow.prefix == name))
        found = (await self._session.scalars(query)).all()
        if len(found) != 1:
            return None
        [row] = found
        row.revoked_at = row.revoked_at or datetime.now(UTC)
        await self._session.flush()
        return row

    async def note_use(self, key_id: str) -> None:
        await self._session.execute(
            update(KeyRow).where(KeyRow.id == key_id).values(last_used_at=datetime.now(UTC))
        )


def _usable_at(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (KeyRow.revoked_at.is_(None), or_(KeyRow.expires_at.is_(None), KeyRow.expires_at > now))
