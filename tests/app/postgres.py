"""A real PostgreSQL server for the tests, and databases on it that cost little to make."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from urllib.parse import quote

import psycopg
from pgserver.postgres_server import get_server

from app.storage.database import migrate

TEMPLATE = "empty"


class PostgresServer:
    """Databases on one server, each a copy of an empty one with our tables."""

    def __init__(self, socket_folder: str) -> None:
        self._socket_folder = socket_folder
        self._numbers = count()
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):  # nothing here outlives a crash
            self.run(f"ALTER SYSTEM SET {setting} = off")
        self.run("SELECT pg_reload_conf()")
        self.run(f"CREATE DATABASE {TEMPLATE}")
        migrate(self.url(TEMPLATE))

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={quote(self._socket_folder)}"

    def new_database(self, template: str = TEMPLATE) -> str:
        """The URL of a new database; of one without tables, if asked to (`template1`)."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def run(self, statement: str) -> None:
        """Run one statement as the server's administrator."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    # Not in a folder of pytest: run by root the server is another user's, who may not look into those.
    folder = tempfile.mkdtemp(prefix="perdure-postgres-")
    with get_server(folder, cleanup_mode="delete") as server:
        yield PostgresServer(str(server.get_postmaster_info().socket_dir))
