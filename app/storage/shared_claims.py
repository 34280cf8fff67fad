"""Claims as session-level advisory locks of PostgreSQL, all on one connection of the process.

The server frees them when that connection ends: a process that is killed holds nothing a moment later, and
there is no lease to run out while a reply is being generated. A process that has lost the connection without
dying is kept from writing what it claimed by `check`, which asks the server within the unit of work.
"""

import asyncio
import contextlib
from collections.abc import Collection, Coroutine
from hashlib import sha256
from typing import Any, ClassVar, TypeVar

import structlog
from sqlalchemy import TextClause, exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from app.storage.backend import DatabaseUnavailableError, Reached
from app.storage.claims import Claims, OnCall, places_of

log = structlog.get_logger()

Answer = TypeVar("Answer")

LOOK_S = 0.05
"""How often a claim that is waited for is tried."""
LISTEN_S = 1.0
"""How often the connection is asked whether it is there, and what was called."""
CHANNEL = "perdure"
ONLY_AFTER_S = 25
"""So soon the server frees the claims of a machine that is gone without a word."""

TAKE = text("SELECT pg_try_advisory_lock(:key)")
RELEASE = text("SELECT pg_advisory_unlock(:key)")
RELEASE_ALL = text("SELECT pg_advisory_unlock_all()")
# Rows are tried one after the other until there are enough: none is locked that is not given.
TAKE_PLACES = text(
    "SELECT key FROM unnest(CAST(:keys AS bigint[])) AS key WHERE pg_try_advisory_lock(key) LIMIT :count"
)
# How the view shows locks by number: https://www.postgresql.org/docs/current/view-pg-locks.html
HOLDERS = text(
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND (CAST(classid AS bigint) << 32 | CAST(objid AS bigint)) = :key"
)
CALL = text(f"SELECT pg_notify('{CHANNEL}', :name)")
PING = text("SELECT 1")
PID = text("SELECT pg_backend_pid()")
BEGIN = (
    text(f"LISTEN {CHANNEL}"),
    text("SET tcp_keepalives_idle = 10"),
    text("SET tcp_keepalives_interval = 5"),
    text(f"SET tcp_keepalives_count = {(ONLY_AFTER_S - 10) // 5}"),
)


class ClaimLostError(DatabaseUnavailableError):
    """The connection that held a claim was lost, and another process may have taken it."""


class SharedClaims(Claims):
    """Of one of several processes. The connection is made when it is first needed, and anew when it is lost.

    `engine` gives it, outside of the pool and of transactions. Advisory locks count how often a connection
    took them, so of one name the next claim of this process may overtake the release of the last.
    """

    is_shared: ClassVar = True

    def __init__(self, engine: AsyncEngine, name: str, reached: Reached) -> None:
        self._engine = engine
        self._name = name
        self._reached = reached
        self._connection: AsyncConnection | None = None
        self._pid = 0
        self._turn = asyncio.Lock()
        self._held: dict[str, int] = {}
        """By name, the server's process that holds it."""
        self._on_calls: list[OnCall] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listening: asyncio.Task[None] | None = None

    async def take(self, name: str, *, waits: bool) -> bool:
        if not waits:
            return await self._try(name)
        # Whoever waits holds the place of the next one meanwhile, and who comes waits for that: of several
        # processes that take a claim again and again, each has its turn.
        place = f"next: {name}"
        await self._until_taken(place)
        try:
            await self._until_taken(name)
        finally:
            # Not waited for: cut off there, whoever asked would have the claim and not know it.
            self._begun(self.release(place))
        return True

    async def release(self, name: str) -> None:
        pid = self._held.pop(name, None)
        if pid is not None:
            await self._whole(self._unlock(key_of(name), pid))

    async def take_places(self, name: str, count: int, most: int) -> list[str] | None:
        async def take() -> list[str]:
            async with self._turn:
                # In turn: the server would give this process one that it has a second time.
                free = {key_of(place): place for place in places_of(name, most) if place not in self._held}
                given = {"keys": list(free), "count": count}
                taken = [free[row.key] for row in (await self._ask(TAKE_PLACES, given)).all()]
                self._held |= dict.fromkeys(taken, self._pid)
                return taken

        taken = await self._kept(take())
        if len(taken) == count:
            return taken
        for place in taken:
            await self.release(place)
        return None

    async def is_held(self, session: AsyncSession, name: str) -> bool:
        return (await session.execute(HOLDERS, {"key": key_of(name)})).first() is not None

    async def check(self, session: AsyncSession, names: Collection[str]) -> None:
        for name in names:
            if (pid := self._held.get(name)) is None:
                continue
            holders = await session.scalars(HOLDERS, {"key": key_of(name)})
            if pid not in holders.all():
                raise ClaimLostError(self._name, "the connection of this process was lost meanwhile")

    async def call(self, name: str) -> None:
        await self._whole(self._in_turn(CALL, {"name": name}))

    def heard_by(self, on_call: OnCall) -> None:
        self._on_calls.append(on_call)

    async def listen(self) -> None:
        await self._whole(self._in_turn(PING, {}))

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        if self._tasks:
            await asyncio.wait(self._tasks)
        async with self._turn:
            if self._connection is not None:
                with contextlib.suppress(DatabaseUnavailableError):
                    await self._execute(self._connection, RELEASE_ALL, {})
            await self._disconnect()
        await self._engine.dispose()

    async def _until_taken(self, name: str) -> None:
        while True:
            if await self._try(name):
                return
            await asyncio.sleep(LOOK_S)

    async def _try(self, name: str) -> bool:
        async def take() -> list[str]:
            async with self._turn:
                if not (await self._ask(TAKE, {"key": key_of(name)})).scalar_one():
                    return []
                self._held[name] = self._pid
                return [name]

        return bool(await self._kept(take()))

    async def _kept(self, taking: Coroutine[Any, Any, list[str]]) -> list[str]:
        """What it takes; if whoever asked is cancelled meanwhile, it is released again."""
        task = self._begun(taking)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._begun(self._release_taken(task))
            raise

    async def _release_taken(self, task: asyncio.Task[list[str]]) -> None:
        with contextlib.suppress(DatabaseUnavailableError):
            for name in await task:
                await self.release(name)

    async def _unlock(self, key: int, pid: int) -> None:
        """Unlock it, unless the connection that held it is gone, and the lock with it."""
        async with self._turn:
            if self._connection is not None and pid == self._pid:
                with contextlib.suppress(DatabaseUnavailableError):
                    await self._execute(self._connection, RELEASE, {"key": key})

    async def _whole(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Do it to its end, even if whoever asked is cancelled.

        A query that is cut off takes the connection with it, and all claims.
        """
        return await asyncio.shield(self._begun(work))

    def _begun(self, work: Coroutine[Any, Any, Answer]) -> asyncio.Task[Answer]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _in_turn(self, query: TextClause, given: dict[str, Any]) -> Any:
        async with self._turn:
            return await self._ask(query, given)

    async def _ask(self, query: TextClause, given: dict[str, Any]) -> Any:
        """The answer; on a new connection if the one that there was turns out to be lost."""
        if self._connection is not None:
            with contextlib.suppress(DatabaseUnavailableError):
                return await self._execute(self._connection, query, given)
        return await self._execute(await self._connected(), query, given)

    async def _execute(self, connection: AsyncConnection, query: TextClause, given: dict[str, Any]) -> Any:
        try:
            with self._reached():
                return await connection.execute(query, given)
        except BaseException:
            await self._disconnect()
            raise

    async def _connected(self) -> AsyncConnection:
        if self._connection is not None:
            return self._connection
        with self._reached():
            connection = await self._engine.connect()
            try:
                for statement in BEGIN:
                    await connection.execute(statement)
                pid = (await connection.execute(PID)).scalar_one()
                driver: Any = (await connection.get_raw_connection()).driver_connection
            except BaseException:
                await connection.close()
                raise
        driver.add_notify_handler(lambda notice: self._heard(notice.payload))
        self._connection, self._pid = connection, pid
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen(), name="claims")
        return connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(exc.SQLAlchemyError):
                await connection.close()

    async def _listen(self) -> None:
        """Keep the connection; what was called comes with the answer to any query."""
        was_lost = False
        while True:
            await asyncio.sleep(LISTEN_S)
            try:
                await self._whole(self._in_turn(PING, {}))
                was_lost = False
            except DatabaseUnavailableError as error:
                if not was_lost:
                    log.warning("the connection of claims was lost", reason=str(error))
                was_lost = True

    def _heard(self, name: str) -> None:
        for on_call in self._on_calls:
            on_call(name)


def key_of(name: str) -> int:
    """The number of an advisory lock. Two names of one number would wait for each other, and that is all."""
    return int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)
