"""Upkeep of recall: what was said is put on the shelves and indexed in the background, one thing at a time.

What was said last comes first. Vectors are made batch by batch, between which a reply that is being
generated is let pass. What fails is tried again later; what is cut off is made up for at the next start.
"""

import asyncio
from collections.abc import Callable, Coroutine

import structlog

from app.recall.indexing import Indexing, Pause
from app.recall.shelving import shelve
from app.storage.database import Database
from app.storage.passages import StoredPassages
from app.storage.repository import owners
from app.storage.shelves import Shelves
from app.telemetry.tracing import following
from memory.recall.kept import KeptIndex

log = structlog.get_logger()

Place = tuple[str, str]
"""An owner, and the id of one of its sessions or shelves."""
LOOK_S = 0.05
LONGEST_PAUSE_S = 10.0
"""So long vectors wait at the most for replies: a service that is never idle is indexed all the same."""
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0


class RecallUpkeep:
    """Brings the indexes of one database up. `is_busy`: whether a reply is being generated; `let_pass` is
    awaited before a session is seen to.
    """

    def __init__(
        self, database: Database, indexing: Indexing, *, is_busy: Callable[[], bool], let_pass: Pause
    ) -> None:
        self._database = database
        self._indexing = indexing
        self._is_busy = is_busy
        self._let_pass = let_pass
        self._sessions: dict[Place, None] = {}
        self._shelves: dict[str, dict[Place, None]] = {index.name: {} for index in indexing.indexes}
        self._waiting = {name: asyncio.Event() for name in ("sessions", *self._shelves)}
        self._tasks: set[asyncio.Task[None]] = set()
        self.faults: dict[str, str] = {}
        """What keeps an index from being filled, by its name."""

    def start(self) -> None:
        """Begin to work, with all that lags."""
        self._spawn(self._shelve_all(), "shelving")
        for index in self._indexing.indexes:
            self._spawn(self._fill(index), f"filling the {index.name} index")
        self._spawn(self.find_lagging(), "finding what is not indexed")

    def soon(self, owner: str, session_id: str) -> None:
        """Bring up what comes of a session, before what has waited longer."""
        self._sessions.pop((owner, session_id), None)
        self._sessions[owner, session_id] = None
        self._waiting["sessions"].set()

    async def bring_up(self, owner: str, session_id: str) -> None:
        """Bring it up now. Raises IndexUnavailableError, and ModelError if there is none to embed with."""
        await shelve(self._database, owner, session_id)
        async with self._database.read() as session:
            shelves = await Shelves(session, owner).of_session(session_id)
        for shelf_id in shelves:
            await self._indexing.bring_up(owner, shelf_id)

    async def find_lagging(self) -> None:
        """Have all brought up that is not on the shelves yet, or not in the indexes."""
        async with self._database.read() as session:
            for owner in await owners(session):
                for session_id in await StoredPassages(session, owner).lagging_sessions():
                    self._sessions.setdefault((owner, session_id))
                for shelf in await Shelves(session, owner).all():
                    if self._indexing.may_lag(shelf):
                        self.look_at(owner, shelf.id)
        for index in self._indexing.indexes:
            await self._indexing.drop_unknown(index)
        self._waiting["sessions"].set()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def look_at(self, owner: str, shelf_id: str) -> None:
        """Have the indexes of a shelf brought up, if they lag."""
        for name, shelves in self._shelves.items():
            shelves.pop((owner, shelf_id), None)
            shelves[owner, shelf_id] = None
            self._waiting[name].set()

    async def _shelve_all(self) -> None:
        while True:
            owner, session_id = await self._next(self._sessions, "sessions")
            await self._let_pass()
            try:
                with following("shelve", {"perdure.session": session_id}) as span:
                    span.set_attribute("perdure.messages", await shelve(self._database, owner, session_id))
                async with self._database.read() as session:
                    for shelf_id in await Shelves(session, owner).of_session(session_id):
                        self.look_at(owner, shelf_id)
            except Exception:
                # With the session's next message, or at the next start, it is tried again.
                log.exception("messages could not be shelved", session=session_id)

    async def _fill(self, index: KeptIndex) -> None:
        shelves = self._shelves[index.name]
        retry_s = FIRST_RETRY_S
        while True:
            owner, shelf_id = await self._next(shelves, index.name)
            await self._pause()
            try:
                if await self._indexing.step(index, owner, shelf_id, self._pause):
                    shelves.setdefault((owner, shelf_id))
                else:
                    await self._indexing.tidy(owner, shelf_id)
            except Exception as error:
                if index.name not in self.faults:
                    log.warning("an index cannot be filled", index=index.name, reason=str(error))
                self.faults[index.name] = str(error)
                shelves.setdefault((owner, shelf_id))
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, LAST_RETRY_S)
            else:
                self.faults.pop(index.name, None)
                retry_s = FIRST_RETRY_S

    async def _next(self, places: dict[Place, None], name: str) -> Place:
        """The place that was put there last."""
        while not places:
            self._waiting[name].clear()
            await self._waiting[name].wait()
        place, _ = places.popitem()
        return place

    async def _pause(self) -> None:
        """Let replies pass."""
        for _ in range(round(LONGEST_PAUSE_S / LOOK_S)):
            if not self._is_busy():
                break
            await asyncio.sleep(LOOK_S)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
