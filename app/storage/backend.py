"""What a kind of database has to offer: its connections, and what it does in its own way."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import Connection, Engine, exc
from sqlalchemy.ext.asyncio import AsyncEngine

from app.storage.claims import Claims

Place = Path | str
"""Where a database is: the file of a SQLite one, or the URL of a PostgreSQL one, password included."""
Reached = Callable[[], AbstractContextManager[None]]
"""`Backend.reached`."""


class DatabaseUnavailableError(Exception):
    """The database cannot be reached; the message says which, without its password, and why."""

    def __init__(self, name: str, why: object) -> None:
        super().__init__(f"{name}: {' '.join(str(why).split())}")


class DatabaseFullError(DatabaseUnavailableError):
    """There is no room left where the database is; what was to be stored is not."""


class Backend(ABC):
    """One database of a kind. `name` says which, without its password."""

    holds_rows: ClassVar[bool]
    """Whether units of work write at the same time, and so hold the rows that they decide by."""
    name: str
    reading: AsyncEngine
    writing: AsyncEngine
    """What gives the connections of units of work that read, and of those that write."""
    claims: Claims

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Raise DatabaseUnavailableError if the database fails, and not because of what it is asked."""
        try:
            yield
        except (exc.OperationalError, exc.InterfaceError) as error:
            kind = DatabaseFullError if self.is_full(error.orig) else DatabaseUnavailableError
            # Without the frames of the driver, which hold the password.
            raise kind(self.name, error.orig) from None
        except exc.TimeoutError:
            raise DatabaseUnavailableError(self.name, "all connections are in use") from None

    @abstractmethod
    def is_full(self, error: BaseException | None) -> bool:
        """Whether the driver says with this that there is no room left."""

    @abstractmethod
    def blocking_engine(self) -> Engine:
        """An engine for migrations."""

    @abstractmethod
    def hold_schema(self, connection: Connection) -> None:
        """Keep other processes from migrating until the end of the transaction."""

    @abstractmethod
    def turn_to_write(self) -> AbstractAsyncContextManager[Any]:
        """Held by a unit of work that writes, from before it begins until it has ended."""

    @abstractmethod
    async def scrub(self) -> bool:
        """Let go of what the database keeps of deleted rows; whether readers allowed it."""
