"""SQLite: one file in write-ahead mode, and one unit of work that writes at a time."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, closing
from functools import partial
from pathlib import Path
from typing import Any, Self

import aiosqlite
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.storage.backend import Backend
from app.storage.claims import OwnClaims

ROWS_AT_ONCE = 64
BUSY_TIMEOUT_MS = 10_000
CHECKPOINT_TRIES, CHECKPOINT_PAUSE_S = 100, 0.1

Execute = Callable[[sqlite3.Cursor, str, Any], sqlite3.Cursor]


class SQLite(Backend):
    """A SQLite database. Readers never wait for the writer, writers for each other."""

    holds_rows = False

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._writing = asyncio.Lock()
        self.claims = OwnClaims()
        self.reading = _engine(path, "DEFERRED")
        # The lock is taken at once: a writer that began as a reader could not become one after another commit
        # (SQLITE_BUSY_SNAPSHOT, https://www.sqlite.org/isolation.html).
        self.writing = _engine(path, "IMMEDIATE")

    def is_full(self, error: BaseException | None) -> bool:
        return isinstance(error, sqlite3.Error) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL

    def blocking_engine(self) -> Engine:
        engine = create_engine(f"sqlite:///{self._path}")
        event.listen(engine, "connect", _leave_transactions_to_us)
        event.listen(engine, "begin", _begin)
        return engine

    def hold_schema(self, connection: Connection) -> None:
        """The home folder is one process's, and so is the file in it."""

    def turn_to_write(self) -> AbstractAsyncContextManager[Any]:
        return self._writing

    async def scrub(self) -> bool:
        """Let no file keep what was deleted. Rewrites the whole database.

        `secure_delete` overwrites what is deleted, but not the copies that SQLite leaves where it moves rows
        from page to page; and the write-ahead log has pages as they were.
        """
        async with self.writing.connect() as connection:
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


class VisitedConnection(aiosqlite.Connection):
    """A connection whose thread is visited as seldom as can be: on a busy machine each visit waits for it.

    It begins a transaction with the first statement, and rolls nothing back where there is nothing.

    It rolls back before it closes, and so lets go of its locks. SQLite keeps a closed connection, with its
    transaction and its locks, until the last of its cursors is gone (https://www.sqlite.org/c3ref/close.html).
    A task that is cancelled while it waits for rows leaves such a cursor to the garbage collector, and until
    that comes by nobody else could write.
    """

    def __init__(self, path: Path, begin: str) -> None:
        super().__init__(lambda: _connected(path), ROWS_AT_ONCE)
        self._thread.daemon = True  # else one that is never closed would keep the process from ending
        self._begin = f"BEGIN {begin}"

    def cursor(self) -> Any:
        return _WholeCursor(self)

    def visit(self, work: Callable[[sqlite3.Connection], None]) -> Awaitable[None]:
        """Do some work where the connection is, in its transaction. Cancelled, it is done all the same: then
        SQLAlchemy closes the connection.
        """
        visiting: Awaitable[None] = self._execute(partial(self._work, work))  # type: ignore[no-untyped-call]
        return visiting

    def _work(self, work: Callable[[sqlite3.Connection], None]) -> None:
        if not self._conn.in_transaction:
            self._conn.execute(self._begin)
        work(self._conn)

    async def commit(self) -> None:
        if self.in_transaction:
            await super().commit()

    async def rollback(self) -> None:
        """Not waited for: whoever visits next comes behind it."""
        if self.in_transaction:
            self._tx.put_nowait((None, self._conn.rollback))

    async def close(self) -> None:
        if self._connection is not None:
            await super().rollback()  # behind a visit that nobody waits for any more
        await super().close()


class _WholeCursor:
    """A cursor as SQLAlchemy uses one, which visits the thread of its connection once and not four times.

    It executes, reads all rows and closes there at once. `AsyncSession.stream`, for rows too many to hold,
    finds no `fetchmany`.
    """

    def __init__(self, connection: VisitedConnection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> Self:
        return self

    def execute(self, statement: str, parameters: Any = ()) -> Awaitable[None]:
        return self._connection.visit(partial(self._run, sqlite3.Cursor.execute, statement, parameters))

    def executemany(self, statement: str, parameters: Any) -> Awaitable[None]:
        return self._connection.visit(partial(self._run, sqlite3.Cursor.executemany, statement, parameters))

    async def fetchall(self) -> list[Any]:
        return self._rows

    async def close(self) -> None:
        """It is closed whenever it is not at work."""

    def _run(self, execute: Execute, statement: str, parameters: Any, connection: sqlite3.Connection) -> None:
        with closing(connection.cursor()) as cursor:
            execute(cursor, statement, parameters)
            self.description = cursor.description
            self._rows = cursor.fetchall() if cursor.description else []
            self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid


def _engine(path: Path, begin: str) -> AsyncEngine:
    """Gives connections whose transactions begin in that way. As events of SQLAlchemy would tell of each
    beginning, they would be looked for with each statement.
    """
    return create_async_engine(
        f"sqlite+aiosqlite:///{path}", async_creator=lambda: VisitedConnection(path, begin)
    )


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    _leave_transactions_to_us(connection)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    return connection


def _leave_transactions_to_us(connection: sqlite3.Connection, _record: Any = None) -> None:
    """So that reads are snapshots too. And the driver would begin none for what changes the schema: a
    migration cut off would stay half.
    """
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
