"""The database: its connections, its migrations, and units of work that either happen whole or not at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from app.storage.sqlite_connection import RollingBackConnection

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_MS = 10_000
CHECKPOINT_TRIES, CHECKPOINT_PAUSE_S = 100, 0.1


class Database:
    """A SQLite database in one file, in write-ahead mode: readers never wait for the writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = create_async_engine(
            f"sqlite+aiosqlite:///{path}", async_creator=lambda: RollingBackConnection(path)
        )
        _configure_sqlite(self._engine)
        self._writing = asyncio.Lock()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """One consistent snapshot to read from."""
        async with AsyncSession(self._engine, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A unit of work: committed as a whole at the end, or rolled back if anything is raised."""
        async with self._writing, AsyncSession(self._engine, expire_on_commit=False) as session:
            await session.connection(execution_options={"begin": "IMMEDIATE"})
            yield session
            await session.commit()

    async def scrub(self) -> bool:
        """Let no file keep what was deleted; whether readers allowed it. Rewrites the whole database.

        `secure_delete` overwrites what is deleted, but not the copies that SQLite leaves where it moves rows
        from page to page; and the write-ahead log has pages as they were.
        """
        async with self._engine.connect() as connection:
            # Beside SQLAlchemy, which would begin a transaction: neither works in one.
            driver: Any = (await connection.get_raw_connection()).driver_connection
            async with self._writing:
                await driver.execute("VACUUM")
            await driver.execute("PRAGMA busy_timeout=0")  # else writers would wait for readers with it
            try:
                for _ in range(CHECKPOINT_TRIES):
                    async with driver.execute("PRAGMA wal_checkpoint(TRUNCATE)") as cursor:
                        is_busy, *_ = await cursor.fetchone()
                    if not is_busy:
                        return True
                    await asyncio.sleep(CHECKPOINT_PAUSE_S)
            finally:
                await driver.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        return False

    async def ping(self) -> None:
        """Raise if the database does not answer."""
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self._engine.dispose()


def _configure_sqlite(engine: AsyncEngine) -> None:
    """Take over from the driver when transactions begin, so that reads are snapshots too.

    A writer takes its lock at once (BEGIN IMMEDIATE): one that began as a reader could not become a
    writer after another commit (SQLITE_BUSY_SNAPSHOT, https://www.sqlite.org/isolation.html).
    """

    @event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA secure_delete=ON")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")


def migrate(path: Path) -> None:
    """Bring the schema of the database at `path` up to this release. Blocks."""
    engine = create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()
