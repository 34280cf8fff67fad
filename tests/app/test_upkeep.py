"""The upkeep of many sessions at once: few at a time, the one that changed last first, none forgotten."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from app.chat.windows import ChosenWindows
from app.storage.database import Database
from app.storage.sessions import Sessions
from app.storage.tables import SessionRow
from app.upkeep.service import AT_ONCE, Upkeep
from memory.strategies import parse_strategy

OWNER = "local"


class Watched:
    """Upkeep of sessions that need none, which can be held up before it looks at any, and where it does."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stored: set[str] = set()
        self.looked_at: list[str] = []
        self.at_once: Counter[str] = Counter()
        self.most_at_once = 0
        self.entrance, self.gate = asyncio.Event(), asyncio.Event()
        self.entrance.set()
        self.gate.set()
        self.upkeep = Upkeep(
            database,
            cast(Any, SimpleNamespace(encoder=None)),
            cast(Any, None),
            open_state=self._open,
            windows=ChosenWindows({}),
            on_change=lambda *_: None,
            let_pass=self._let_pass,
        )

    async def _let_pass(self) -> None:
        await self.entrance.wait()

    @asynccontextmanager
    async def _open(self, _owner: str, session_id: str) -> AsyncIterator[Any]:
        self.looked_at.append(session_id)
        self.at_once[session_id] += 1
        self.most_at_once = max(self.most_at_once, self.at_once.total())
        assert max(self.at_once.values()) == 1, "a session has one task"
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
            yield SimpleNamespace(strategy=parse_strategy({"strategy": "buffer"})), None
        finally:
            self.at_once[session_id] -= 1

    async def soon(self, *names: str) -> None:
        now = datetime.now(UTC)
        row = {"memory": {"strategy": "summary_buffer"}, "created_at": now, "updated_at": now}
        new = set(names) - self._stored
        async with self._database.write() as session:
            rows = [{"id": name} | row for name in new]
            await Sessions(session, OWNER).insert(SessionRow, rows)
        self._stored |= new
        for name in names:
            self.upkeep.soon(OWNER, name)

    async def begun(self, count: int) -> None:
        """Wait until so many have been looked at, and for whatever else would begin by then."""
        for _ in range(20_000):
            if len(self.looked_at) >= count:
                break
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert len(self.looked_at) == count

    async def ended(self, count: int) -> None:
        for _ in range(20_000):
            if len(self.looked_at) >= count and not self.at_once.total():
                return
            await asyncio.sleep(0.001)
        raise AssertionError("did not end in time")


def watching(empty_database: Path, work: Callable[[Watched], Awaitable[None]]) -> None:
    async def run() -> None:
        database = Database(empty_database)
        watched = Watched(database)
        try:
            await work(watched)
        finally:
            await watched.upkeep.close()
            await database.close()

    asyncio.run(run())


def test_of_hundreds_of_sessions_few_are_worked_on_at_once_and_each_is(empty_database: Path) -> None:
    async def work(watched: Watched) -> None:
        names = [f"ses_{number}" for number in range(300)]
        watched.gate.clear()
        await watched.soon(*names)
        await watched.begun(AT_ONCE)
        watched.gate.set()
        await watched.ended(len(names))
        assert sorted(watched.looked_at) == sorted(names)
        assert watched.most_at_once == AT_ONCE

    watching(empty_database, work)


def test_the_session_that_changed_last_is_worked_on_before_all_that_wait(empty_database: Path) -> None:
    async def work(watched: Watched) -> None:
        watched.gate.clear()
        running = [f"running {number}" for number in range(AT_ONCE)]
        await watched.soon(*running, "first", "second", "third", "first")
        await watched.begun(AT_ONCE)
        for number in range(3):
            await watched.upkeep.stop(watched.looked_at[number])
            await watched.begun(AT_ONCE + number + 1)
        assert watched.looked_at[AT_ONCE:] == ["first", "third", "second"]

    watching(empty_database, work)


def test_a_session_that_changes_while_it_is_worked_on_is_worked_on_again(empty_database: Path) -> None:
    async def work(watched: Watched) -> None:
        watched.gate.clear()
        await watched.soon("a")
        await watched.begun(1)
        await watched.soon("a", "a")
        watched.gate.set()
        await watched.ended(2)
        await watched.begun(2)

    watching(empty_database, work)


def test_sessions_that_are_stopped_leave_their_places_to_others(empty_database: Path) -> None:
    async def work(watched: Watched) -> None:
        watched.entrance.clear()
        stopped = [f"stopped {number}" for number in range(AT_ONCE)]
        await watched.soon(*stopped, "waiting", "other")
        for name in ("waiting", *stopped):  # the first of these before it has begun
            await watched.upkeep.stop(name)
        watched.entrance.set()
        await watched.ended(1)
        assert watched.looked_at == ["other"]

    watching(empty_database, work)
