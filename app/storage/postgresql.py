"""PostgreSQL: a server by URL, and units of work that write at the same time.

One that reads has one snapshot (REPEATABLE READ). One that writes sees what others commit meanwhile (READ
COMMITTED), and holds the rows that it decides by: docs/postgresql.md says which.
"""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.storage.backend import Backend, DatabaseUnavailableError
from app.storage.shared_claims import SharedClaims
from app.storage.tables import Table

CONNECTIONS, MORE_CONNECTIONS = 10, 20
"""That are kept open, and that are opened besides when those are all in use."""
CONNECT_TIMEOUT_S = 5
NOTICES_A_LOSS = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""How libpq connects where nobody may wait for a server that is gone without a word."""
SCRUB_TRIES, SCRUB_PAUSE_S = 100, 0.1
DISK_FULL = "53100"
"""SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""
SCHEMA_LOCK = 0x70657264757265
"""The key of the advisory lock of migrations: "perdure"."""


class PostgreSQL(Backend):
    """A PostgreSQL database. A connection that the server has dropped is found dead and made anew."""

    holds_rows = True

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="postgresql+psycopg")
        self.name = _named(self._url)
        self._arguments = {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "perdure"}
        for name in self._arguments.keys() & self._url.query.keys():
            del self._arguments[name]
        try:
            engine = create_async_engine(
                self._url,
                connect_args=self._arguments,
                pool_pre_ping=True,
                pool_size=CONNECTIONS,
                max_overflow=MORE_CONNECTIONS,
            )
            claiming = create_async_engine(
                self._url,
                connect_args=NOTICES_A_LOSS | self._arguments,
                poolclass=NullPool,
                isolation_level="AUTOCOMMIT",
            )
        except ModuleNotFoundError as error:
            raise DatabaseUnavailableError(
                self.name, f"{error}; PostgreSQL needs its driver: pip install 'perdure[postgres]'"
            ) from error
        self.reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self.writing = engine.execution_options(isolation_level="READ COMMITTED")
        self.claims = SharedClaims(claiming, self.name, self.reached)

    def is_full(self, error: BaseException | None) -> bool:
        return getattr(error, "sqlstate", None) == DISK_FULL

    def blocking_engine(self) -> Engine:
        return create_engine(self._url, connect_args=self._arguments)

    def hold_schema(self, connection: Connection) -> None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SCHEMA_LOCK})

    def turn_to_write(self) -> AbstractAsyncContextManager[Any]:
        return nullcontext()

    async def scrub(self) -> bool:
        """Have no table hold versions of rows that are deleted. What files keep is the server's affair.

        Snapshots from before keep them from being let go of: first those have to end.
        """
        tables = ", ".join(f'"{name}"' for name in sorted(Table.metadata.tables))
        async with self.writing.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            now = (await connection.execute(text("SELECT pg_current_xact_id()::xid::text"))).scalar_one()
            older = text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND backend_xmin IS NOT NULL"
                " AND age(backend_xmin) >= age(CAST(:now AS xid))"
            )
            for _ in range(SCRUB_TRIES):
                if not (await connection.execute(older, {"now": now})).scalar_one():
                    await connection.execute(text(f"VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) {tables}"))
                    return True
                await asyncio.sleep(SCRUB_PAUSE_S)
        return False


def _named(url: URL) -> str:
    shown = url.set(drivername="postgresql").difference_update_query(["password", "sslpassword"])
    return shown.render_as_string(hide_password=True)
