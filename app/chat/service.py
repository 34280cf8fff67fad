"""The chat sessions at work: admit a message and start its turn, append messages.

Whoever changes a session's messages holds the session's lock. HTTP stays in `app.api`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from app.access.spending import reserve
from app.chat.changes import SessionChanges
from app.chat.existing import existing_session
from app.chat.facts import SessionFacts
from app.chat.foreground import Foreground
from app.chat.locks import SessionLocks
from app.chat.persona import preamble_of
from app.chat.prefixes import Typed, may_be_typed
from app.chat.preparing import NextWindows
from app.chat.questions import (
    Question,
    new_question,
    read_instructions,
    read_message,
    stored_question,
)
from app.chat.states import SessionParts, SessionStates
from app.chat.storing import MessageStore
from app.chat.summaries import SessionSummaries
from app.chat.turn import AdmittedTurn, RunningTurn
from app.chat.windows import ChosenWindows
from app.errors import SessionBusyProblem, ShuttingDownProblem
from app.ids import new_id
from app.models.chat import ChatModel
from app.models.embedding import SentenceEmbedder
from app.recall.service import Recall
from app.schemas.messages import MessageCreate, ReplyCreate
from app.settings import Settings
from app.storage.claims import chat_claim
from app.storage.database import Database
from app.storage.messages import MessageDraft, Messages
from app.storage.tables import MessageRow, SessionRow
from app.telemetry.generations import GenerationWatch
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import begun, stage
from app.upkeep.extractors import Extractors
from app.upkeep.service import Upkeep
from app.upkeep.summarisers import Summarisers
from app.upkeep.writer import ModelWriter
from llm.engine.interface import GenerationRequest, SamplingParameters


class Chat:
    """The chat sessions of this process, on one database and one model."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        model: ChatModel,
        embedder: SentenceEmbedder,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._database = database
        self._model = model
        self._store = MessageStore(database, model.tokenizer)
        self._locks = SessionLocks(database.claims)
        database.claims.heard_by(self._called_off)
        self._running: dict[str, RunningTurn] = {}
        self._windows = ChosenWindows(self._running)
        self._tasks: set[asyncio.Task[None]] = set()
        self.embedder = embedder
        self._foreground = Foreground()
        self.recall = Recall(
            settings,
            database,
            embedder,
            is_busy=lambda: bool(self._running) or self._foreground.is_busy,
            let_pass=self._foreground.let_pass,
        )
        self.changes = SessionChanges(settings, database, model)
        self.states = SessionStates(settings, database, model, self.recall)
        self._next_windows = NextWindows(model.engine, self.states, self._foreground)
        summarisers = Summarisers(model, embedder)
        self.facts = SessionFacts(database)
        self.summaries = SessionSummaries(database, summarisers, self.states.open)
        self.upkeep = Upkeep(
            database,
            summarisers,
            Extractors(ModelWriter(model)),
            open_state=self.states.open,
            windows=self._windows,
            on_change=self._next_windows.soon,
            let_pass=self._foreground.let_pass,
        )
        self._is_closing = False

    async def start_turn(
        self,
        owner: str,
        session_id: str,
        message: MessageCreate,
        *,
        arrived_at: float,
        logprobs: int | None = None,
    ) -> RunningTurn | SessionRow:
        """Admit and store the message, then start its reply. `arrived_at`: `time.perf_counter()` then;
        `logprobs`: how many of the likeliest tokens its deltas report beside each of theirs, if any.

        One that gives the session other instructions has no reply: the session is the answer. Raises a
        problem, or an error of `memory` or `llm`, before anything is stored.
        """
        typed = Typed(message.content)
        if may_be_typed(message.content):
            row = await self.states.row(owner, session_id)
            typed = read_message(message.content, prefixes=row.prefixes)
        if typed.kind == "ci":
            return await self._instruct(owner, session_id, typed, message)
        ask = partial(new_question, self._model.tokenizer, typed, message.note)
        return await self.start(owner, session_id, message, ask, arrived_at, logprobs=logprobs)

    async def start_reply(
        self, owner: str, session_id: str, reply: ReplyCreate, *, replaces: str | None, arrived_at: float
    ) -> RunningTurn:
        """Start a reply to a stored message: the last one, or the one that the reply `replaces` answers.

        Raises like `start_turn`.
        """
        tokenizer = self._model.tokenizer
        ask = partial(stored_question, self._database, tokenizer, owner, session_id, replaces=replaces)
        return await self.start(owner, session_id, reply, ask, arrived_at)

    async def start(
        self,
        owner: str,
        session_id: str,
        reply: ReplyCreate,
        ask: Callable[[], Awaitable[Question]],
        arrived_at: float,
        *,
        logprobs: int | None = None,
    ) -> RunningTurn:
        """Start a reply to what `ask` gives, which is called with the session's lock held.

        Raises like `start_turn`, and like `ask`.
        """
        with begun("turn", {"perdure.session": session_id}):  # the turn ends the span
            with stage("lock"):
                await self._lock_own(owner, session_id, reply.if_busy)
            try:
                with self._foreground.turn():
                    with stage("admit"):
                        if self._is_closing:
                            raise ShuttingDownProblem("no new turns are taken")
                        parts = await self._settled_parts(owner, session_id)
                        self._next_windows.stop(session_id)
                        question = await ask()
                    sampling = replace(self.sampling(reply), logprobs=logprobs)
                    async with self._windows.held(session_id):
                        turn = await self._start_locked(owner, parts, sampling, question, arrived_at)
                        self._running[session_id] = turn
            except BaseException:
                await self._locks.release(session_id)
                raise
            task = asyncio.create_task(turn.run(), name=f"turn of {session_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return turn

    async def _start_locked(
        self,
        owner: str,
        parts: SessionParts,
        sampling: SamplingParameters,
        question: Question,
        arrived_at: float,
    ) -> RunningTurn:
        message, user_message, reply_id = question.message, question.stored, new_id("msg")
        session_id = parts.row.id
        with stage("assemble"):
            assembled = await self.states.assemble(
                owner,
                parts,
                message,
                reply_tokens=sampling.max_tokens,
                asked=user_message,
                terms=question.terms,
            )
        sampling = replace(sampling, stop=(*sampling.stop, *assembled.forbidden_phrases))
        reservation = await reserve(
            self._model.engine,
            GenerationRequest(
                prompt=assembled.context.token_ids,
                sampling=sampling,
                owner=owner,
                conversation=session_id,
                preamble=preamble_of(assembled.context),
                messages=assembled.context.spoken,
            ),
        )
        try:
            with stage("store"):
                user_message = await self._store.keep_question(owner, session_id, question, reply_id)
            generation = reservation.submit()
        finally:
            reservation.release()
        return RunningTurn(
            AdmittedTurn(
                owner=owner,
                user_message=user_message,
                reply_id=reply_id,
                persona=assembled.persona,
                context=assembled.context,
                arrived_at=arrived_at,
                replaces=question.replaces,
                from_documents=message.quotes is not None,
                user_message_marks=question.marks,
            ),
            generation,
            model=self._model,
            database=self._database,
            checkpoint_s=self._settings.checkpoint_s,
            foreground=self._foreground,
            watch=GenerationWatch(self._metrics, "turn", arrived_at=arrived_at),
            on_end=lambda: self._turn_ended(owner, session_id),
        )

    async def _instruct(
        self, owner: str, session_id: str, typed: Typed, message: MessageCreate
    ) -> SessionRow:
        instructions = read_instructions(typed, message.note)
        async with self.changing(owner, session_id, if_busy=message.if_busy):
            return await self.changes.apply(owner, session_id, {"instructions": instructions})

    async def change(self, owner: str, session_id: str, changes: dict[str, Any]) -> SessionRow:
        """As `SessionChanges.apply`; what another memory derives is made at once, off this path."""
        row = await self.changes.apply(owner, session_id, changes)
        if "memory" in changes:
            self.upkeep.soon(owner, session_id)
        return row

    @asynccontextmanager
    async def changing(
        self, owner: str, session_id: str, *, if_busy: str = "reject"
    ) -> AsyncIterator[SessionRow]:
        """Hold the session's lock, with no reply on its way; afterwards the coming window is prepared."""
        async with self._held(session_id, if_busy):
            row = await self._settled(owner, session_id)
            self._next_windows.stop(session_id)
            yield row
        self.after_change(owner, session_id)

    async def append(
        self, owner: str, session_id: str, drafts: Sequence[MessageDraft], *, if_busy: str
    ) -> list[MessageRow]:
        """Store messages behind the last one, all or none."""
        async with self.changing(owner, session_id, if_busy=if_busy):
            await self.states.bring_up_index(owner, session_id)
            token_ids = await asyncio.to_thread(
                lambda: [self._model.tokenizer.encode_message(draft.role, draft.content) for draft in drafts]
            )
            return await self._store.keep_messages(owner, session_id, drafts, token_ids)

    @asynccontextmanager
    async def ended(self, session_ids: Sequence[str]) -> AsyncIterator[None]:
        """Hold the locks of sessions that are deleted, with an end to all that goes on in them."""
        for session_id in session_ids:
            await self.end_turn(session_id)
        async with AsyncExitStack() as held:
            for session_id in sorted(session_ids):
                await held.enter_async_context(self.quiet(session_id))
                await self.upkeep.stop(session_id)
            yield

    async def end_turn(self, name: str) -> None:
        """End the reply of that id, or what is generated in the session of that id, in whatever process.

        What there is of it is kept.
        """
        if not self._called_off(name):
            await self._database.claims.call(name)

    async def is_generating(self, session_id: str, reply_id: str) -> bool:
        """Whether that reply, which is not stored to its end, is being generated in this process or another.

        In another it is the session that is known to be answered, which is not yet to say: by this reply.
        """
        turn = self._running.get(session_id)
        if turn is not None or not self._database.claims.is_shared:
            return turn is not None and turn.reply_id == reply_id
        async with self._database.read() as session:
            return await self._database.claims.is_held(session, chat_claim(session_id))

    @asynccontextmanager
    async def quiet(self, session_id: str) -> AsyncIterator[None]:
        """Hold the session's lock, once it is free, for what changes nothing that was said.

        For a session that is known to be the owner's.
        """
        async with self._held(session_id, "wait"):
            self._next_windows.stop(session_id)
            yield

    async def close(self) -> None:
        """End all turns; what there is of their replies is stored, marked interrupted."""
        self._is_closing = True
        for turn in self._running.values():
            turn.cancel()
        await self.upkeep.close()
        await self.recall.close()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._next_windows.close()

    @asynccontextmanager
    async def _held(self, session_id: str, if_busy: str) -> AsyncIterator[None]:
        await self._lock(session_id, if_busy)
        try:
            yield
        finally:
            await self._locks.release(session_id)

    async def _lock_own(self, owner: str, session_id: str, if_busy: str) -> None:
        """As `_lock`; that it is busy is told to its owner alone."""
        try:
            await self._lock(session_id, if_busy)
        except SessionBusyProblem:
            await self.states.row(owner, session_id)
            raise

    async def _lock(self, session_id: str, if_busy: str) -> None:
        wait_s = self._settings.busy_wait_s if if_busy == "wait" else 0
        await self._locks.acquire(session_id, wait_s=wait_s)

    async def _turn_ended(self, owner: str, session_id: str) -> None:
        del self._running[session_id]
        await self._locks.release(session_id)
        self.after_change(owner, session_id)

    def after_change(self, owner: str, session_id: str) -> None:
        """Do what follows from new messages, or from a change of what is derived, off the turn's path."""
        if not self._is_closing:
            self._next_windows.soon(owner, session_id)
            self.upkeep.soon(owner, session_id)
            self.recall.soon(owner, session_id)

    def after_import(self, owner: str, session_ids: Sequence[str], shelf_ids: Sequence[str]) -> None:
        """Do what follows from sessions that came in, and from documents on these shelves.

        The sessions that come first are seen to first. Their windows are not prepared: hundreds of them
        would drive those that are in use from the cache.
        """
        if not self._is_closing:
            for shelf_id in shelf_ids:
                self.recall.upkeep.look_at(owner, shelf_id)
            for session_id in reversed(session_ids):
                self.upkeep.soon(owner, session_id)
                self.recall.soon(owner, session_id)

    def _called_off(self, name: str) -> bool:
        called = [turn for session_id, turn in self._running.items() if name in (session_id, turn.reply_id)]
        for turn in called:
            turn.cancel()
        return bool(called)

    async def _settled(self, owner: str, session_id: str) -> SessionRow:
        """The session. A reply that could not be stored to its end is marked so: with the lock held, nobody
        generates it.
        """
        async with self._database.read() as session:
            row = await existing_session(session, owner, session_id)
            has_unfinished = await Messages(session, owner).has_unfinished(session_id)
        if has_unfinished:
            await self._interrupt_unfinished(owner, session_id)
        return row

    async def _settled_parts(self, owner: str, session_id: str) -> SessionParts:
        """The same, with what stands around its turns."""
        parts = await self.states.parts(owner, session_id)
        if not parts.has_unfinished:
            return parts
        await self._interrupt_unfinished(owner, session_id)
        return await self.states.parts(owner, session_id)

    async def _interrupt_unfinished(self, owner: str, session_id: str) -> None:
        async with self._database.write() as session:
            await Messages(session, owner).interrupt_unfinished(session_id)

    def sampling(self, message: ReplyCreate) -> SamplingParameters:
        """How a reply is sampled: what is asked for, and the service's defaults."""
        defaults = self._settings.sampling.model_dump()
        asked = message.model_dump(include=set(defaults), exclude_none=True)
        return SamplingParameters(
            max_tokens=message.max_tokens or self._settings.reply_tokens,
            frequency_penalty=message.frequency_penalty,
            presence_penalty=message.presence_penalty,
            seed=message.seed,
            stop=tuple(message.stop),
            **(defaults | asked),
        )
