"""The database: its connections, its migrations, and units of work that either happen whole or not at all.

What SQLite and PostgreSQL do in their own ways is in `app.storage.sqlite` and `app.storage.postgresql`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.storage.backend import Backend, Place
from app.storage.claims import CLAIMS, Claims
from app.storage.postgresql import PostgreSQL
from app.storage.repository import HOLDS_ROWS
from app.storage.sqlite import SQLite

MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """The database at a place, a SQLite file or a PostgreSQL server. Readers never wait for writers."""

    def __init__(self, place: Place) -> None:
        self._backend = backend_of(place)

    @property
    def claims(self) -> Claims:
        """What this process has claimed for itself, across all that work on the database."""
        return self._backend.claims

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """One consistent snapshot to read from. Raises DatabaseUnavailableError."""
        with self._backend.reached():
            async with AsyncSession(self._backend.reading, expire_on_commit=False) as session:
                yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A unit of work: committed as a whole at the end, or rolled back if anything is raised.

        On PostgreSQL others write at the same time: repositories hold the rows that they decide by, and none
        writes to a chat that this process has claimed and lost. Raises DatabaseUnavailableError.
        """
        info = {HOLDS_ROWS: self._backend.holds_rows, CLAIMS: self._backend.claims}
        with self._backend.reached():
            async with (
                self._backend.turn_to_write(),
                AsyncSession(self._backend.writing, expire_on_commit=False, info=info) as session,
            ):
                yield session
                await session.commit()

    async def scrub(self) -> bool:
        """Let go of what the database keeps of deleted rows; whether readers allowed it."""
        return await self._backend.scrub()

    async def ping(self) -> None:
        """Raise DatabaseUnavailableError if the database does not answer."""
        async with self.read() as session:
            await session.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self._backend.claims.close()
        for engine in (self._backend.reading, self._backend.writing):
            await engine.dispose()


def migrate(place: Place) -> None:
    """Bring the schema of the database up to this release. Blocks. Raises DatabaseUnavailableError."""
    upgrade(place, "head")


def upgrade(place: Place, revision: str) -> None:
    """The same, up to one revision of the schema."""
    backend = backend_of(place)
    engine = backend.blocking_engine()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with backend.reached(), engine.begin() as connection:
            backend.hold_schema(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    finally:
        engine.dispose()


def reach(place: Place) -> None:
    """Raise DatabaseUnavailableError if the database at a place cannot be reached. Blocks."""
    backend = backend_of(place)
    engine = backend.blocking_engine()
    with backend.reached(), engine.connect():
        engine.dispose()


def backend_of(place: Place) -> Backend:
    """The kind of database that is at a place."""
    return SQLite(place) if isinstance(place, Path) else PostgreSQL(place)
