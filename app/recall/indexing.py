"""Indexing: the indexes of recall follow the shelves of the store, each from its own watermark on.

A watermark moves only behind what has been applied, and applying twice is applying once: so a kill at any
point loses and doubles nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import structlog

from app.storage.database import Database
from app.storage.passages import Change, StoredPassages
from app.storage.repository import shelf_ids
from app.storage.shelves import ShelfState, Shelves
from app.telemetry.tracing import Attributes, stage
from llm.errors import ModelError
from memory.errors import IndexUnavailableError
from memory.recall.kept import KeptIndex

log = structlog.get_logger()

Pause = Callable[[], Awaitable[None]]
"""Awaited between two batches: where others are let pass."""


async def no_pause() -> None:
    await asyncio.sleep(0)


class Indexing:
    """Fills indexes from one database. Of each index, one batch is applied at a time."""

    def __init__(self, database: Database, indexes: Sequence[KeptIndex]) -> None:
        self.indexes = indexes
        self._database = database
        self._locks = {index.name: asyncio.Lock() for index in indexes}
        self.marks: dict[tuple[str, str], int] = {}
        """The watermarks that were last met, by index and shelf: for figures, since asking takes time."""

    async def step(self, index: KeptIndex, owner: str, shelf_id: str, pause: Pause = no_pause) -> bool:
        """Take an index of a shelf farther; whether there is more to do.

        Raises IndexUnavailableError, and ModelError if there is no model to embed with.
        """
        async with self._having(index, shelf_id):
            async with self._database.read() as session:
                state = await Shelves(session, owner).state(shelf_id)
            if state is None:
                await asyncio.to_thread(index.drop, shelf_id)
                self.marks.pop((index.name, shelf_id), None)
                return False
            mark = await asyncio.to_thread(index.watermark, shelf_id)
            if not _is_of(state, mark):
                log.info("a shelf is indexed anew", index=index.name, shelf=shelf_id, watermark=mark)
                mark = 0
            if mark == 0:
                await asyncio.to_thread(index.drop, shelf_id)
            try:
                return mark != state.last_change and await self._apply(index, owner, state, mark, pause)
            finally:
                self.marks[index.name, shelf_id] = await asyncio.to_thread(index.watermark, shelf_id)

    def may_lag(self, shelf: ShelfState) -> bool:
        """Whether an index of a shelf has not come as far, or was not met yet."""
        return any(self.marks.get((index.name, shelf.id)) != shelf.last_change for index in self.indexes)

    async def drop_unknown(self, index: KeptIndex) -> None:
        """Let go of what an index holds of shelves that are no more."""
        try:
            held = await asyncio.to_thread(index.shelves)
            async with self._database.read() as session:
                known = await shelf_ids(session)
            for shelf_id in sorted(held - known):
                await asyncio.to_thread(index.drop, shelf_id)
        except IndexUnavailableError as error:
            log.warning("an index cannot be tidied", index=index.name, reason=str(error))

    async def bring_up(self, owner: str, shelf_id: str) -> None:
        """Take all indexes of a shelf as far as it goes, at the same time. Raises like `step`."""

        async def bring_up(index: KeptIndex) -> None:
            while await self.step(index, owner, shelf_id):
                pass

        outcomes = await asyncio.gather(*map(bring_up, self.indexes), return_exceptions=True)
        for fault in filter(None, outcomes):
            raise fault
        await self.tidy(owner, shelf_id)

    async def empty(self, shelf_id: str) -> None:
        """Have a shelf indexed anew. Raises IndexUnavailableError."""
        for index in self.indexes:
            async with self._having(index, shelf_id):
                await asyncio.to_thread(index.drop, shelf_id)
                self.marks[index.name, shelf_id] = 0

    async def purge(self, owner: str, shelf_id: str) -> None:
        """Have the indexes of a shelf without what it has let go of. Raises like `step`.

        One that cannot be brought up is emptied, if that can be: to be filled later needs more than that.
        """
        try:
            await self.bring_up(owner, shelf_id)
        except (IndexUnavailableError, ModelError):
            await self.empty(shelf_id)
            raise

    async def scrub(self) -> None:
        """Have no index keep a trace in its files of what it has let go of. Raises IndexUnavailableError."""
        for index in self.indexes:
            async with self._locks[index.name]:
                await asyncio.to_thread(index.scrub)

    async def tidy(self, owner: str, shelf_id: str) -> None:
        """Let go of the tombstones that all indexes know of, and of a shelf on which nothing is left."""
        marks = [await asyncio.to_thread(index.watermark, shelf_id) for index in self.indexes]
        async with self._database.read() as session:
            if not await Shelves(session, owner).is_untidy(shelf_id, min(marks)):
                return
        async with self._database.write() as session:
            is_gone = await Shelves(session, owner).tidy(shelf_id, min(marks))
        if is_gone:
            for index in self.indexes:
                await self.step(index, owner, shelf_id)

    @asynccontextmanager
    async def _having(self, index: KeptIndex, shelf_id: str) -> AsyncIterator[None]:
        """Be the only one that writes to an index of a shelf, in whatever process."""
        async with self._locks[index.name]:
            if not index.is_shared:
                yield
                return
            async with self._database.claims.held(f"{index.name} index of {shelf_id}"):
                yield

    async def _apply(self, index: KeptIndex, owner: str, state: ShelfState, mark: int, pause: Pause) -> bool:
        """Apply whole changes: as many as a batch holds, or one that is larger."""
        # What was purged since then may have left traces in the index; of one that is being filled anew too,
        # unless this is the first step.
        began = state.last_change if mark == 0 else max(0, mark)
        behind = (abs(mark) + 1, "", -1)
        while True:
            async with self._database.read() as session:
                newest = await Shelves(session, owner).state(state.id)
                changes = await StoredPassages(session, owner).changes(
                    state.id, behind=behind, limit=index.batch
                )
            if newest is None:
                return True
            if len(changes) < index.batch:
                await self._finish(index, newest, changes, rewrite=newest.purged_at > began)
                return False
            whole = [each for each in changes if each.change < changes[-1].change]
            if whole and not 0 < mark < newest.purged_at:
                reached = whole[-1].change
                await _give(index, state.id, whole, reached if mark > 0 else -reached)
                return True
            await _give(index, state.id, changes, None)
            last = changes[-1]
            behind = (last.change, last.key.source, last.key.number)
            await pause()

    async def _finish(
        self, index: KeptIndex, state: ShelfState, changes: Sequence[Change], *, rewrite: bool
    ) -> None:
        if not rewrite:
            await _give(index, state.id, changes, state.last_change)
            return
        await _give(index, state.id, changes, None)
        await asyncio.to_thread(index.rewrite, state.id)
        await _give(index, state.id, (), state.last_change)


async def _give(index: KeptIndex, shelf_id: str, changes: Sequence[Change], watermark: int | None) -> None:
    added = [each.passage for each in changes if each.passage is not None]
    removed = [each.key for each in changes if each.passage is None]
    attributes: Attributes = {
        "perdure.index": index.name,
        "perdure.shelf": shelf_id,
        "perdure.added": len(added),
        "perdure.removed": len(removed),
    }
    with stage("index", attributes):
        await asyncio.to_thread(index.apply, shelf_id, added, removed, watermark)


def _is_of(state: ShelfState, mark: int) -> bool:
    """Whether an index may go on from its watermark: it is of this store, and tombstones wait for it."""
    if mark <= 0:
        return -mark <= state.last_change
    return state.tidied_to <= mark <= state.last_change
