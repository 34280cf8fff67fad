"""Deletion that can be verified: tables let go at once, all other copies follow, and a receipt says how far.

It is reconciliation: what is left to do follows from the receipts that are pending, so it may be cut off and
begun again at any point. A receipt says done when every place has been asked and nothing is there: of several
processes on one database, each purges its own home.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import structlog

from app.chat.service import Chat
from app.documents.library import Library
from app.errors import NotFoundProblem, SessionBusyProblem
from app.models.chat import ChatModel
from app.storage.backend import DatabaseUnavailableError
from app.storage.database import Database
from app.storage.deletion_tables import DeletionRow
from app.storage.deletions import DeletionKind, Deletions, Scope, pending, scope_of
from app.storage.documents import Documents
from app.storage.home_tables import HomeRow
from app.storage.homes import Homes
from app.storage.messages import Messages
from app.storage.sessions import Sessions
from app.storage.tables import MessageRow
from llm.errors import ModelError
from memory.errors import IndexUnavailableError

log = structlog.get_logger()

FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0
KV_CACHE, FILES = "kv_cache", "files"
CALL = "deletions"
"""Has other processes look at what is pending."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A deletion, and by store how many were removed and are left, counted now.

    `waits_for`: why it is not done yet, if something keeps it from that.
    """

    deletion: DeletionRow
    remaining: dict[str, int]
    waits_for: str | None = None


class Deleting:
    """The deletions of this process's database."""

    def __init__(
        self,
        database: Database,
        model: ChatModel,
        chat: Chat,
        library: Library,
        *,
        home_id: str | None,
        forget_answers: Callable[[str], None],
    ) -> None:
        """`home_id`: of this process, where others have homes too. `forget_answers`: of an owner, at hand."""
        self._database = database
        self._home_id = home_id
        self._forget_answers = forget_answers
        database.claims.heard_by(self._called)
        self._engine = model.engine
        self._chat = chat
        self._library = library
        self._indexes = {f"{index.name}_index": index for index in chat.recall.indexing.indexes}
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._uncached: dict[str, set[str]] = {}
        """By deletion, the chats whose cached keys and values have been dropped."""
        self._faults: dict[str, str] = {}

    def start(self) -> None:
        """Begin to purge what is pending, in the background."""
        self._asked.set()
        self._task = asyncio.create_task(self._work(), name="deletions")

    def look(self) -> None:
        """Purge what is pending, soon."""
        self._asked.set()

    async def close(self) -> None:
        """End what is being done; it is gone on with at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def message(self, owner: str, message_id: str) -> Receipt:
        """Delete a message, its copies in branches, and of a user's message the replies to it.

        Raises NotFoundProblem, and SessionBusyProblem if a session of these is being answered.
        """
        async with AsyncExitStack() as held:
            rows, locked = await self._message_rows(owner, message_id), set[str]()
            while new := sorted({row.session_id for row in rows} - locked):
                for session_id in new:
                    await held.enter_async_context(self._chat.changing(owner, session_id))
                locked |= set(new)
                rows = await self._message_rows(owner, message_id)
            if not rows:
                return await self._before(owner, "message", message_id)
            async with self._database.write() as session:
                deletions = Deletions(session, owner)
                await deletions.begin()
                rows = await self._with_copies(deletions, message_id)
                deletion = await deletions.delete_message(message_id, rows)
            await self._uncache(deletion.id, locked)
        return await self._accepted(owner, deletion)

    async def session(self, owner: str, session_id: str) -> Receipt:
        """End what the session generates, then delete it. Raises NotFoundProblem."""
        async with self._chat.ended([session_id]), self._database.write() as session:
            await Deletions(session, owner).begin()
            if await Sessions(session, owner).get(session_id) is None:
                deletion = None
            else:
                deletion = await Deletions(session, owner).delete_session(session_id)
        if deletion is None:
            return await self._before(owner, "session", session_id)
        await self._uncache(deletion.id, [session_id])
        return await self._accepted(owner, deletion)

    async def user(self, owner: str, user_id: str) -> Receipt:
        """Delete all of a user: chats and documents. Raises NotFoundProblem if there never was anything."""
        while True:
            async with self._database.read() as session:
                known = list(await Sessions(session, owner).ids(user_id))
                documents = await Documents(session, owner).ids_of(user_id)
            if not known and not documents:
                return await self._before(owner, "user", user_id)
            async with self._chat.ended(known), self._database.write() as session:
                await Deletions(session, owner).begin()
                if not set(await Sessions(session, owner).ids(user_id)) <= set(known):
                    continue  # another was begun meanwhile
                documents = await Documents(session, owner).ids_of(user_id)
                deletion = await Deletions(session, owner).delete_user(user_id, known, documents)
            self._library.stop_reading(documents)
            await self._uncache(deletion.id, known)
            return await self._accepted(owner, deletion)

    async def receipt(self, owner: str, deletion_id: str) -> Receipt:
        """How far a deletion is, and what is left, counted anew. Raises NotFoundProblem."""
        async with self._database.read() as session:
            deletions = Deletions(session, owner)
            row = await deletions.get(deletion_id)
            if row is None:
                raise NotFoundProblem(f"deletion {deletion_id} does not exist")
            scope = scope_of(row)
            remaining = await deletions.remaining(scope)
            owing = await Homes(session).owing(deletion_id)
        others = [home for home in owing if home.id != self._home_id]
        is_done_here = row.status == "done" or (0 < len(owing) == len(others))
        remaining[KV_CACHE] = self._cached(row, scope, is_done_here=is_done_here)
        fault = self._faults.get(row.id) or _waiting_for(others)
        for name, index in self._indexes.items():
            try:
                remaining[name] = await self._indexed(name, scope)
            except IndexUnavailableError as error:
                remaining[name] = sum(passages for _, passages in scope.shelves.values())
                fault = f"{index.name}: {error}"
        remaining[FILES] = int(not is_done_here)
        return Receipt(row, remaining, fault)

    async def _message_rows(self, owner: str, message_id: str) -> Sequence[MessageRow]:
        async with self._database.read() as session:
            return await self._with_copies(Deletions(session, owner), message_id)

    @staticmethod
    async def _with_copies(deletions: Deletions, message_id: str) -> Sequence[MessageRow]:
        """What a message's deletion takes; nothing if it does not exist. One that is forgotten does."""
        found = await Messages(deletions.session, deletions.owner).get_many([message_id])
        return await deletions.with_copies(found[message_id]) if found else ()

    async def _before(self, owner: str, kind: DeletionKind, target: str) -> Receipt:
        """The receipt of what was deleted before. Raises NotFoundProblem if it was not."""
        async with self._database.read() as session:
            row = await Deletions(session, owner).of(kind, target)
        if row is None:
            raise NotFoundProblem(f"{kind} {target} does not exist")
        return await self.receipt(owner, row.id)

    async def _accepted(self, owner: str, deletion: DeletionRow) -> Receipt:
        self._asked.set()
        with suppress(DatabaseUnavailableError):  # they look by themselves too
            await self._database.claims.call(CALL)
        return await self.receipt(owner, deletion.id)

    def _called(self, name: str) -> None:
        if name == CALL:
            self.look()

    async def _work(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                is_done = await self._purge_pending()
            except Exception:
                log.exception("deletions could not be carried out")
                is_done = False
            if is_done:
                retry_s = FIRST_RETRY_S
                continue
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LAST_RETRY_S)
            self._asked.set()

    async def _purge_pending(self) -> bool:
        """Purge what is pending, all that can be; whether nothing is left to do. Files are rewritten once."""
        async with self._database.read() as session:
            if self._home_id is None:
                waiting = await pending(session)
            else:
                waiting = await Homes(session).owed_by(self._home_id)
        purged = [each for each in waiting if await self._purge(*each)]
        if purged and await self._scrub():
            for owner, deletion_id in purged:
                await self._finish(owner, deletion_id)
            return len(purged) == len(waiting)
        return not waiting

    async def _purge(self, owner: str, deletion_id: str) -> bool:
        """Purge what lies beside the tables, but for bytes in files; whether all of it is gone."""
        async with self._database.read() as session:
            row = await Deletions(session, owner).get(deletion_id)
        assert row is not None, "receipts stay"
        scope = scope_of(row)
        self._forget_answers(owner)
        try:
            for session_id in scope.chats:
                if session_id not in self._uncached.get(deletion_id, ()):
                    async with self._chat.quiet(session_id):
                        await self._uncache(deletion_id, [session_id])
            for shelf_id in scope.shelves:
                await self._chat.recall.indexing.purge(owner, shelf_id)
        except (SessionBusyProblem, IndexUnavailableError, ModelError) as error:
            log.warning("a deletion waits", deletion=deletion_id, reason=str(error))
            self._faults[deletion_id] = str(error)
            return False
        self._faults.pop(deletion_id, None)
        receipt = await self.receipt(owner, deletion_id)
        return not any(count for name, count in receipt.remaining.items() if name != FILES)

    async def _scrub(self) -> bool:
        """Have no file keep bytes of what is gone."""
        await self._chat.recall.indexing.scrub()
        return await self._database.scrub()

    async def _finish(self, owner: str, deletion_id: str) -> None:
        """Note that it is carried out here, and so done, unless others are still at it."""
        self._uncached.pop(deletion_id, None)
        async with self._database.write() as session:
            deletions = Deletions(session, owner)
            row = await deletions.get(deletion_id, to_finish=True)
            assert row is not None
            if self._home_id is not None:
                await Homes(session).carried_out(self._home_id, deletion_id)
            if row.status == "done" or await Homes(session).owing(deletion_id):
                return
            scope = scope_of(row)
            passages = sum(count for _, count in scope.shelves.values())
            removed = {KV_CACHE: len(scope.chats), **dict.fromkeys(self._indexes, passages)}
            await deletions.finish(deletion_id, removed)

    async def _uncache(self, deletion_id: str, chats: Sequence[str] | set[str]) -> None:
        """Drop the cached keys and values of chats in which nothing is generated."""
        for session_id in chats:
            await asyncio.to_thread(self._engine.forget, session_id)
            self._uncached.setdefault(deletion_id, set()).add(session_id)

    def _cached(self, row: DeletionRow, scope: Scope, *, is_done_here: bool) -> int:
        """How many chats have cached keys and values that may rest on what was deleted."""
        if is_done_here:
            return sum(self._engine.is_cached(session_id) for session_id in scope.sessions)
        return len(set(scope.chats) - self._uncached.get(row.id, set()))

    async def _indexed(self, name: str, scope: Scope) -> int:
        """How many passages an index may still have a trace of."""
        index, left = self._indexes[name], 0
        for shelf_id, (change, passages) in scope.shelves.items():
            mark = await asyncio.to_thread(index.watermark, shelf_id)
            is_empty = mark == 0 and await asyncio.to_thread(index.count, shelf_id) == 0
            if mark < change and not is_empty:
                left += max(1, passages)
        return left


def _waiting_for(homes: Sequence[HomeRow]) -> str | None:
    """Which homes of other processes are not purged yet."""
    if not homes:
        return None
    named = ", ".join(home.id for home in homes)
    return f"the copies that other processes have in their homes: {named}"
