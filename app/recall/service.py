"""Recall for the chat sessions of this service: the indexes are brought up after each reply, and asked.

SQL says what the passages are; both indexes only follow it. What is not indexed yet is not found, and
whoever asks is told how much that is.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import perf_counter

from sqlalchemy.ext.asyncio import AsyncSession

from app.chat.existing import existing_session
from app.models.reranking import Reranker
from app.recall.indexing import Indexing, Pause, no_pause
from app.recall.search import AskedDense, AskedLexical, ScopedPassages
from app.recall.upkeep import RecallUpkeep
from app.settings import Settings
from app.storage.database import Database
from app.storage.passages import StoredPassages
from app.storage.recall_tables import ShelfRow
from app.storage.repository import owners
from app.storage.sessions import Sessions
from app.storage.shelves import Scope, ShelfState, Shelves
from llm.progress import Progress, silent
from memory.errors import IndexUnavailableError
from memory.recall.dense import ChromaIndex, chroma_server, embedded_chroma
from memory.recall.kept import KeptDense, KeptLexical
from memory.recall.lexical import TantivyIndex
from memory.recall.protocols import ANY, Embedder, Filter
from memory.recall.ranking import EMBEDDED, Ranked
from memory.recall.search import Question, Searcher
from memory.strategies.recalling import RecallScope

LIMIT = 100
EMBEDDED_AT_ONCE = 4
"""Questions that may wait for the model in threads, as it takes turns; others wait for these."""


@dataclass(frozen=True, slots=True)
class Recollection:
    """What was found, best first.

    `behind`: how many messages of the scope are not indexed yet. `degraded`: why only a part of the indexes
    was asked; None: all were.
    """

    ranked: Sequence[Ranked]
    behind: int = 0
    degraded: str | None = None


@dataclass(slots=True)
class QueryTimes:
    """How many searches there were, and how long they took together."""

    count: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ShelfStatus:
    """A shelf, how many passages stand there, and how many messages of it are not in both indexes yet."""

    shelf: ShelfRow
    passages: int
    behind: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question and where it is asked: a scope, how far its shelves have come, and how many messages of its
    chats are not on them yet."""

    text: str
    dense: AskedDense
    scope: Scope
    shelves: Sequence[ShelfState]
    waiting: int


class Recall:
    """Finds passages, and keeps the indexes up with what was said."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        embedder: Embedder,
        *,
        is_busy: Callable[[], bool] = lambda: False,
        let_pass: Pause = no_pause,
    ) -> None:
        self._database = database
        self._embedder = embedder
        folder = settings.recall_folder
        opened = (
            chroma_server(settings.chroma_url) if settings.chroma_url else embedded_chroma(folder / "chroma")
        )
        self._dense = ChromaIndex(
            opened,
            f"{settings.embedding_model} of {EMBEDDED}",
            None if settings.chroma_url else folder / "chroma",
        )
        self._lexical = TantivyIndex(folder / "lexical")
        self._threads = ThreadPoolExecutor(EMBEDDED_AT_ONCE, thread_name_prefix="questions")
        self._reranker = Reranker(settings.reranker, settings) if settings.reranker else None
        self._kept = (KeptLexical(self._lexical), KeptDense(self._dense, embedder))
        self.indexing = Indexing(database, self._kept)
        self.upkeep = RecallUpkeep(database, self.indexing, is_busy=is_busy, let_pass=let_pass)
        self.times = QueryTimes()

    def start(self) -> None:
        """Begin to bring up in the background what lags."""
        self.upkeep.start()

    @property
    def faults(self) -> str | None:
        """What keeps the indexes from being filled; None: nothing."""
        faults = self.upkeep.faults
        return "; ".join(f"{name}: {fault}" for name, fault in sorted(faults.items())) or None

    async def ping(self) -> None:
        """Raise IndexUnavailableError if the index of vectors does not answer."""
        await asyncio.to_thread(self._dense.ping)

    def soon(self, owner: str, session_id: str) -> None:
        """Bring the session's passages and its shelves' indexes up, in the background."""
        self.upkeep.soon(owner, session_id)

    async def bring_up(self, owner: str, session_id: str) -> None:
        """The same, now."""
        await self.upkeep.bring_up(owner, session_id)

    async def close(self) -> None:
        """End what is being done in the background; it is made up for at the next start."""
        await self.upkeep.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._reranker is not None:
            self._reranker.close()
        self._lexical.close()
        self._dense.close()

    async def of_session(
        self,
        owner: str,
        session_id: str,
        text: str,
        scope: RecallScope,
        *,
        documents: bool = False,
        where: Filter = ANY,
        limit: int = LIMIT,
    ) -> Recollection:
        """What was said before and matters for a text; never waits for indexing. Raises NotFoundProblem.

        A session without a user recalls its own passages only. With `documents`, what everybody's and the
        user's documents say too.
        """
        async with self._database.read() as session:
            chat = await existing_session(session, owner, session_id)
            found = await Shelves(session, owner).in_scope(chat, scope)
            if documents:
                told = await Shelves(session, owner).of_documents(chat.user_id)
                found = replace(found, whole=(*found.whole, *told.whole))
            asked = await self._asked(session, owner, text, found)
        return await self._search(owner, asked, where, limit)

    async def of_user(
        self,
        owner: str,
        user_id: str,
        persona_id: str | None,
        text: str,
        *,
        where: Filter = ANY,
        limit: int = LIMIT,
    ) -> Recollection:
        """What a user has said and been told, with one persona or with all."""
        async with self._database.read() as session:
            scope = await Shelves(session, owner).of_user(user_id, persona_id)
            asked = await self._asked(session, owner, text, scope)
        return await self._search(owner, asked, where, limit)

    async def of_documents(
        self, owner: str, user_id: str | None, text: str, *, where: Filter = ANY, limit: int = LIMIT
    ) -> Recollection:
        """What everybody's documents say, and those of the user."""
        async with self._database.read() as session:
            scope = await Shelves(session, owner).of_documents(user_id)
            asked = await self._asked(session, owner, text, scope)
        return await self._search(owner, asked, where, limit)

    async def status(self, owner: str, user_id: str | None = None) -> list[ShelfStatus]:
        """How far the owner's shelves, or those of one user, are indexed."""
        names = [index.name for index in self._kept]
        async with self._database.read() as session:
            found = []
            for row, size in await Shelves(session, owner).sizes(user_id):
                mark = min(abs(self.indexing.marks.get((name, row.id), 0)) for name in names)
                behind = 0
                if mark < row.last_change:
                    behind = await StoredPassages(session, owner).unindexed(row.id, mark)
                found.append(ShelfStatus(row, size, behind))
        return found

    async def totals(self) -> tuple[int, int]:
        """Passages that stand on shelves, and messages that are not indexed yet, of all owners."""
        passages, behind = 0, 0
        async with self._database.read() as session:
            everybody = await owners(session)
            for owner in everybody:
                behind += await StoredPassages(session, owner).waiting()
        for owner in everybody:
            for each in await self.status(owner):
                passages, behind = passages + each.passages, behind + each.behind
        return passages, behind

    async def reindex(self, owner: str, user_id: str | None, progress: Progress = silent) -> None:
        """Drop what is derived for recall, of the owner or of one user, to be made anew from the messages.

        Raises IndexUnavailableError.
        """
        async with self._database.read() as session:
            chats = await Sessions(session, owner).ids(user_id)
            shelves = [row.id for row, _ in await Shelves(session, owner).sizes(user_id)]
        for done, session_id in enumerate(chats):
            async with self._database.write() as session:
                await StoredPassages(session, owner).cut(session_id, 0)
            progress("dropping what is indexed", done + 1, len(chats))
        for shelf_id in shelves:
            await self.indexing.empty(shelf_id)
            self.upkeep.look_at(owner, shelf_id)
        for session_id in chats:
            self.soon(owner, session_id)

    async def _asked(self, session: AsyncSession, owner: str, text: str, scope: Scope) -> _Asked:
        dense = AskedDense(self._dense, self._embedder, scope, text, self._threads)
        # In one read: what is shelved between two would be counted by neither.
        shelves = await Shelves(session, owner).states(scope.shelves)
        waiting = await StoredPassages(session, owner).waiting_in(scope)
        return _Asked(text, dense, scope, shelves, waiting)

    async def _search(self, owner: str, asked: _Asked, where: Filter, limit: int) -> Recollection:
        began = perf_counter()
        scope = asked.scope
        lagging, fault = await self._behind(owner, asked.shelves)
        searcher = Searcher(
            asked.dense,
            AskedLexical(self._lexical, scope),
            asked.dense,
            ScopedPassages(self._database, owner, scope),
        )
        question = Question(asked.text, datetime.now(UTC), scope.shelves, where)
        found = await searcher.search(question, limit) if scope.shelves else []
        if self._reranker is not None:
            found, unranked = await self._reranker.reranked(asked.text, found)
            fault = fault or unranked
        self.times.count += 1
        self.times.seconds += perf_counter() - began
        ranked = _each_once(found, scope.session_id)
        return Recollection(ranked, lagging + asked.waiting, asked.dense.fault or fault)

    async def _behind(self, owner: str, shelves: Sequence[ShelfState]) -> tuple[int, str | None]:
        """How many messages on those shelves are not in both indexes; and why one of them cannot tell."""
        behind, fault = 0, None
        for shelf in shelves:
            marks = []
            for index in self._kept:
                try:
                    marks.append(abs(await asyncio.to_thread(index.watermark, shelf.id)))
                except IndexUnavailableError as error:
                    fault = f"by words alone: {error}"
            if min(marks, default=shelf.last_change) < shelf.last_change:
                self.upkeep.look_at(owner, shelf.id)
                async with self._database.read() as session:
                    behind += await StoredPassages(session, owner).unindexed(shelf.id, min(marks))
        return behind, fault


def _each_once(ranked: Sequence[Ranked], session_id: str | None) -> list[Ranked]:
    """A chat that was branched holds copies of messages: of each, one; the asking session's if it has it."""
    best: dict[tuple[object, ...], Ranked] = {}
    for each in ranked:
        passage = each.passage
        said = (passage.said_at, passage.role, passage.text)
        if said not in best:
            best[said] = each
        elif passage.key.source == session_id != best[said].passage.key.source:
            best[said] = replace(each, score=best[said].score)
    return list(best.values())
