"""A connection to SQLite that lets go of its locks when it is closed."""

import sqlite3
from pathlib import Path

import aiosqlite

ROWS_AT_ONCE = 64


class RollingBackConnection(aiosqlite.Connection):
    """Rolls back before it closes.

    SQLite keeps a closed connection, with its transaction and its locks, until the last of its cursors is
    gone (https://www.sqlite.org/c3ref/close.html). A task that is cancelled while it waits for rows leaves
    such a cursor to the garbage collector, and until that comes by nobody else could write.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(lambda: sqlite3.connect(path), ROWS_AT_ONCE)
        self._thread.daemon = True  # else one that is never closed would keep the process from ending

    async def close(self) -> None:
        if self._connection is not None:
            await self.rollback()
        await super().close()
