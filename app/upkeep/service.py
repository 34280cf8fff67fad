"""Upkeep: what is derived from a session's messages is brought up after each reply, off the turn's path.

It is reconciliation: the next step follows from what is stored, so it may be cut off and begun again at
any point, and what has been missed is made up for. Few sessions are worked on at a time: an import makes
hundreds at once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.chat.existing import existing_session
from app.chat.persona import names_in_notes
from app.chat.states import OpenState
from app.chat.windows import ChosenWindows
from app.errors import NotFoundProblem
from app.storage.backend import DatabaseUnavailableError
from app.storage.database import Database
from app.storage.history import StoredHistory
from app.storage.repository import owners
from app.storage.sessions import Sessions
from app.storage.summaries import Summaries
from app.storage.token_index import bring_up
from app.telemetry.tracing import following, stage
from app.upkeep.extractors import Extractors
from app.upkeep.fact_blocks import FactBlockUpkeep
from app.upkeep.facts import FactUpkeep
from app.upkeep.summarisers import Summarisers
from memory.strategies import parse_strategy
from memory.strategies.remembering import remembering
from memory.strategies.summarising import SummarisingStrategy, summarising
from memory.summaries.plan import Step, enters_at, next_step
from memory.summaries.summariser import Task

log = structlog.get_logger()

AT_ONCE = 4
"""So many sessions are worked on at a time."""


@dataclass(frozen=True, slots=True)
class _Work:
    """A step, and what it is made from: the summary `previous_id`, and the turns of the task."""

    strategy: SummarisingStrategy
    step: Step
    task: Task
    previous_id: str | None


@dataclass(frozen=True, slots=True)
class Lag:
    """How many sessions wait for upkeep or have it; how many messages for a summary that is due, as far as
    that is known, and for the extraction of their facts.
    """

    sessions: int
    summaries: int
    facts: int


class Upkeep:
    """The upkeep of all sessions of this process, one task a session, and few at a time.

    Of those that wait, the one that changed last comes first: that is where somebody waits for a reply.
    `on_change(owner, session_id)` is called when something new may stand in the session's windows;
    `let_pass` is awaited before each session: those whom somebody waits for come first.
    """

    def __init__(
        self,
        database: Database,
        summarisers: Summarisers,
        extractors: Extractors,
        *,
        open_state: OpenState,
        windows: ChosenWindows,
        on_change: Callable[[str, str], None],
        let_pass: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._summarisers = summarisers
        self._facts = FactUpkeep(database, extractors, windows)
        self._fact_blocks = FactBlockUpkeep(database, summarisers.encoder, open_state)
        self._open_state = open_state
        self._windows = windows
        self._on_change = on_change
        self._let_pass = let_pass
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._again: dict[str, Context] = {}
        self._unsummarised: dict[str, int] = {}
        """Messages of the step that is due, of each session that has been looked at."""
        self._waiting: dict[str, tuple[str, Context]] = {}
        """The owners of sessions that wait for their turn; the one that changed last stands last. With each
        the request that changed it, for logs and traces."""

    def soon(self, owner: str, session_id: str) -> None:
        """Bring the session's derived data up when its turn comes, after what is being done for it."""
        if session_id in self._tasks:
            self._again[session_id] = copy_context()
            return
        self._waiting.pop(session_id, None)
        self._waiting[session_id] = owner, copy_context()
        self._start_waiting()

    async def find_lagging(self, *, changed_before: datetime | None = None) -> None:
        """Bring up what a process that was killed has left behind."""
        async with self._database.read() as session:
            for owner in await owners(session):
                for session_id in await Sessions(session, owner).to_keep_up(changed_before=changed_before):
                    self.soon(owner, session_id)

    async def lag(self) -> Lag:
        """How far what is derived from messages lags behind them, recall left out."""
        return Lag(
            sessions=len(self._waiting) + len(self._tasks),
            summaries=sum(self._unsummarised.values()),
            facts=await self._facts.behind(),
        )

    async def stop(self, session_id: str) -> None:
        self._waiting.pop(session_id, None)
        self._again.pop(session_id, None)
        self._unsummarised.pop(session_id, None)
        if (task := self._tasks.get(session_id)) is not None:
            task.cancel()
            await asyncio.wait([task])

    async def close(self) -> None:
        self._waiting.clear()
        self._again.clear()
        for session_id in list(self._tasks):
            await self.stop(session_id)

    def _start_waiting(self) -> None:
        while self._waiting and len(self._tasks) < AT_ONCE:
            session_id, (owner, changed_in) = self._waiting.popitem()
            task = asyncio.create_task(
                self._work(owner, session_id), name=f"upkeep of {session_id}", context=changed_in
            )
            self._tasks[session_id] = task
            # Not at the end of the work itself: a task that is cancelled before it begins never gets there.
            task.add_done_callback(partial(self._ended, owner, session_id))

    def _ended(self, owner: str, session_id: str, _task: asyncio.Task[None]) -> None:
        del self._tasks[session_id]
        if (changed_in := self._again.pop(session_id, None)) is not None:
            self._waiting[session_id] = owner, changed_in
        self._start_waiting()

    async def _work(self, owner: str, session_id: str) -> None:
        await self._let_pass()
        with following("upkeep", {"perdure.session": session_id}):
            try:
                # Another process may be at what this one would do too, and what is new came after it looked.
                async with self._database.claims.held(f"upkeep {session_id}"):
                    await self._bring_up(owner, session_id)
            except DatabaseUnavailableError as error:
                log.warning("upkeep is put off", session=session_id, reason=str(error))

    async def _bring_up(self, owner: str, session_id: str) -> None:
        changed = False
        try:
            async with self._database.read() as session:
                row = await existing_session(session, owner, session_id)
            strategy = parse_strategy(row.memory)
            if summarising(strategy):
                with stage("summarise"):
                    while await self._summarise_next(owner, session_id):
                        changed = True
            else:
                self._unsummarised.pop(session_id, None)
            if remembering(strategy):
                encoder = self._summarisers.encoder
                await bring_up(self._database, owner, session_id, encoder, encoder.fingerprint)
                with stage("extract"):
                    while (found := await self._facts.extract_next(owner, session_id)) is not None:
                        changed = changed or found > 0
                with stage("facts"):
                    await self._fact_blocks.bring_up(owner, session_id)
            if row.kept_up_at != row.updated_at:
                async with self._database.write() as session:
                    await Sessions(session, owner).kept_up(session_id, row.updated_at)
        except NotFoundProblem:
            return  # deleted meanwhile
        except Exception:
            log.exception("upkeep failed", session=session_id)
        if changed:
            self._on_change(owner, session_id)

    async def _summarise_next(self, owner: str, session_id: str) -> bool:
        """Take the next step; whether there was one."""
        work = await self._next_work(owner, session_id)
        if work is None:
            self._unsummarised.pop(session_id, None)
            return False
        self._unsummarised[session_id] = len(work.task.turns)
        summariser = self._summarisers.of(work.strategy)
        text = await summariser.summarise(work.task)
        return await self._store(owner, session_id, work, text, summariser.author)

    async def _next_work(self, owner: str, session_id: str) -> _Work | None:
        async with self._open_state(owner, session_id) as (chat, persona), self._database.read() as session:
            strategy = summarising(chat.strategy)
            if strategy is None:
                return None
            summaries = Summaries(session, owner)

            async def summarised_before(turn: int) -> int:
                row = await summaries.before(session_id, strategy.recipe, turn)
                return row.through_turn if row else 0

            step = await next_step(strategy, chat.history, chat.room(), summarised_before=summarised_before)
            if step is None:
                return None
            previous = await summaries.before(session_id, strategy.recipe, step.first_turn)
            task = Task(
                previous=previous.text if previous else "",
                turns=await chat.history.messages(step.first_turn, step.through_turn),
                names=names_in_notes(persona),
                max_tokens=strategy.summary_tokens,
            )
            return _Work(strategy, step, task, previous.id if previous else None)

    async def _store(self, owner: str, session_id: str, work: _Work, text: str, author: str) -> bool:
        """Store a summary, unless what it rests on has changed meanwhile; whether there may be more to do."""
        token_ids = await asyncio.to_thread(self._summarisers.encode, text)
        strategy, step = work.strategy, work.step
        async with self._windows.held(session_id), self._database.write() as session:
            if await Sessions(session, owner).get(session_id) is None:
                return False
            if not await self._still_holds(session, owner, session_id, work):
                return True
            used = await self._windows.first_turn(session, owner, session_id, strategy)
            await Summaries(session, owner).add_one(
                session_id,
                recipe=strategy.recipe,
                through_turn=step.through_turn,
                enters_at=enters_at(step.through_turn, used),
                author=author,
                text=text,
                token_ids=token_ids,
                fingerprint=self._summarisers.encoder.fingerprint,
            )
        return True

    async def _still_holds(self, session: AsyncSession, owner: str, session_id: str, work: _Work) -> bool:
        """Whether what a summary was made from is still what the chat says."""
        step = work.step
        previous = await Summaries(session, owner).before(session_id, work.strategy.recipe, step.first_turn)
        if (previous.id if previous else None) != work.previous_id:
            return False
        history = await StoredHistory.open(session, owner, session_id, self._summarisers.encoder)
        now = await history.messages(step.first_turn, step.through_turn)
        return [message.id for message in now] == [message.id for message in work.task.turns]
