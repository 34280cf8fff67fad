"""One turn: from a user's message to the stored reply. The way of it is one way; see docs/design.md.

Admission (lock, validate, choose the context, keep a place in the queue) comes before anything is stored;
then the message is stored, and only then the model sees it. The reply is generated and stored by a task
of its own, so that it is kept whatever becomes of the client.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from app.chat.context_records import context_record
from app.chat.foreground import Foreground
from app.chat.persona import ChatPersona
from app.chat.sources import sources_of
from app.errors import GenerationFailedProblem, ProblemError, QueueTimeoutProblem
from app.faults import problem_of_fault
from app.models.chat import ChatModel
from app.recall.records import source_messages
from app.storage.database import Database
from app.storage.idempotency import IdempotencyKeys
from app.storage.marks import MarkKind
from app.storage.message_tree import MessageTree
from app.storage.messages import MessageDraft, Messages, MessageStatus
from app.storage.sessions import Sessions
from app.storage.tables import MessageRow
from app.storage.token_index import TokenIndex
from app.telemetry.generations import GenerationWatch
from app.telemetry.metrics import End
from app.telemetry.tracing import stage
from llm.engine.interface import (
    ChosenToken,
    Delta,
    Failed,
    Finished,
    Generation,
    Started,
)
from memory.context import Context

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TextDelta:
    """`tokens`: those of the text, where log-probabilities are wanted."""

    text: str
    tokens: tuple[ChosenToken, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnFinished:
    reply: MessageRow


@dataclass(frozen=True, slots=True)
class TurnFailed:
    problem: ProblemError


TurnEvent = TextDelta | TurnFinished | TurnFailed


class Turn(Protocol):
    """A turn as those see it who wait for its reply. Iterate `events` once; the last one ends it."""

    @property
    def reply_id(self) -> str: ...

    @property
    def user_message(self) -> MessageRow: ...

    @property
    def user_message_marks(self) -> frozenset[MarkKind]: ...

    def events(self) -> AsyncIterator[TurnEvent]: ...

    def cancel(self) -> None: ...


@dataclass(frozen=True, slots=True)
class AdmittedTurn:
    """All that is settled before the model starts. `replaces`: the reply whose place the new one takes;
    `from_documents`: whether it was asked of documents.
    """

    owner: str
    user_message: MessageRow
    reply_id: str
    persona: ChatPersona | None
    context: Context
    arrived_at: float
    replaces: MessageRow | None = None
    from_documents: bool = False
    user_message_marks: frozenset[MarkKind] = frozenset()


class RunningTurn:
    """A turn whose reply is being generated. Iterate `events` once; the last one ends it."""

    def __init__(
        self,
        admitted: AdmittedTurn,
        generation: Generation,
        *,
        model: ChatModel,
        database: Database,
        checkpoint_s: float,
        foreground: Foreground,
        watch: GenerationWatch,
        on_end: Callable[[], Awaitable[None]],
    ) -> None:
        self.admitted = admitted
        self._generation = generation
        self._model = model
        self._database = database
        self._checkpoint_s = checkpoint_s
        self._foreground = foreground
        self._watch = watch
        self._end: End = "failed"
        self._on_end = on_end
        self._events: asyncio.Queue[TurnEvent] = asyncio.Queue()
        self._text = ""
        self._is_stored = False
        self._started: Started | None = None
        self._ttft_ms: float | None = None

    @property
    def reply_id(self) -> str:
        return self.admitted.reply_id

    @property
    def user_message(self) -> MessageRow:
        return self.admitted.user_message

    @property
    def user_message_marks(self) -> frozenset[MarkKind]:
        return self.admitted.user_message_marks

    def cancel(self) -> None:
        """End the generation; what there is of the reply is kept, marked interrupted."""
        self._generation.cancel()

    async def events(self) -> AsyncIterator[TurnEvent]:
        while True:
            event = await self._events.get()
            yield event
            if not isinstance(event, TextDelta):
                return

    async def run(self) -> None:
        """Generate the reply and store it. Never raises: a fault becomes the last event."""
        try:
            last = await self._generate()
        except Exception as error:
            self._generation.cancel()
            log.error("turn failed", user_message=self.user_message.id, error=type(error).__name__)
            self._end = "failed"
            problem = problem_of_fault(error)
            problem.extra.setdefault("user_message_id", self.user_message.id)
            last = TurnFailed(problem)
        self._report()
        # Before the client hears of the end: its next message must not find the session busy.
        await self._on_end()
        self._events.put_nowait(last)

    def _report(self) -> None:
        """Tell operators how it went: in the metrics, in the log, and by the end of the turn's span."""
        self._watch.ended(self._end)
        log.info(
            "turn",
            session=self.admitted.user_message.session_id,
            reply=self.reply_id,
            end=self._end,
            ttft_ms=None if self._ttft_ms is None else round(self._ttft_ms, 1),
            ms=round(self._elapsed_ms(), 1),
        )
        self._watch.span.end()

    async def _generate(self) -> TurnEvent:
        checkpoint_at = time.monotonic() + self._checkpoint_s
        async for event in self._generation:
            match event:
                case Started():
                    self._started = event
                    self._watch.started(event)
                case Delta(text, tokens) if text or tokens:
                    if self._ttft_ms is None:
                        self._ttft_ms = self._elapsed_ms()
                    self._watch.text()
                    self._text += text
                    self._events.put_nowait(TextDelta(text, tokens))
                    if time.monotonic() >= checkpoint_at:
                        await self._checkpoint()
                        checkpoint_at = time.monotonic() + self._checkpoint_s
                case Finished():
                    return await self._finish(event)
                case Failed():
                    return await self._fail(event)
        raise RuntimeError("the engine's stream ended without a last event")

    async def _checkpoint(self) -> None:
        """Store what there is of the reply, so that a killed process loses at most the last moment."""
        async with self._database.write() as session:
            await self._write_reply(Messages(session, self.admitted.owner), status="generating")

    async def _finish(self, finished: Finished) -> TurnEvent:
        self._text, self._end = finished.text, finished.reason
        self._watch.generated(finished.completion_tokens)
        if finished.reason == "cancelled" and not finished.text:
            return TurnFailed(
                GenerationFailedProblem(
                    "the generation was cancelled before the first word",
                    user_message_id=self.admitted.user_message.id,
                )
            )
        with self._foreground.turn(), stage("store"):
            return TurnFinished(await self._store(finished))

    async def _fail(self, failed: Failed) -> TurnEvent:
        self._watch.generated(len(failed.token_ids))
        if failed.reason == "timeout":
            self._end = "timeout"
            return TurnFailed(
                QueueTimeoutProblem(failed.error, user_message_id=self.admitted.user_message.id)
            )
        log.error("generation failed", error=failed.error, user_message=self.admitted.user_message.id)
        self._text = failed.text
        with stage("store"):
            reply = await self._store(failed) if failed.text else None
        return TurnFailed(
            GenerationFailedProblem(
                failed.error,
                user_message_id=self.admitted.user_message.id,
                reply_message_id=reply.id if reply else None,
            )
        )

    async def _store(self, end: Finished | Failed) -> MessageRow:
        """Store the reply with its token ids, its usage and its context record, all or nothing.

        One that is whole and not empty takes the place of the reply that it replaces; else that one stays.
        """
        turn = self.admitted
        assert self._started is not None
        complete = isinstance(end, Finished) and end.reason != "cancelled"
        async with self._database.write() as session:
            messages = Messages(session, turn.owner)
            reply = await self._write_reply(
                messages,
                status="complete" if complete else "interrupted",
                finish_reason=end.reason if isinstance(end, Finished) else "error",
                usage=self._usage(end, self._started),
                sources=await sources_of(session, turn.owner, turn.context) if turn.from_documents else None,
            )
            if turn.replaces is not None and complete and end.text:
                await MessageTree(session, turn.owner).activate(reply)
            if end.token_ids or not end.text:  # else the index is brought up from the text, later
                index, fingerprint = TokenIndex(session, turn.owner), self._model.tokenizer.fingerprint
                token_ids = self._model.tokenizer.encode_reply(end.token_ids)
                if reply.is_active:
                    await index.extend([reply], [token_ids], fingerprint)
                await index.keep_sampled(reply, token_ids, fingerprint)
            record = context_record(
                turn.context,
                turn.persona,
                self._cached_tokens(end, self._started),
                self._model.engine.model.token_counts,
                await source_messages(session, turn.owner, turn.context),
            )
            await messages.keep_record(reply, record)
            await Sessions(session, turn.owner).touch(reply.session_id)
        return reply

    async def _write_reply(
        self,
        messages: Messages,
        *,
        status: MessageStatus,
        finish_reason: str | None = None,
        usage: dict[str, object] | None = None,
        sources: list[dict[str, Any]] | None = None,
    ) -> MessageRow:
        if not self._is_stored:
            draft = MessageDraft(
                role="assistant",
                content=self._text,
                id=self.reply_id,
                status=status,
                model=self._model.engine.model.name,
                finish_reason=finish_reason,
                usage=usage,
                sources=sources,
            )
            if self.admitted.replaces is not None:
                reply = await messages.add_alternative(self.admitted.replaces, draft)
            else:
                [reply] = await messages.append(self.admitted.user_message.session_id, [draft])
            keys = IdempotencyKeys(messages.session, messages.owner)
            asked = self.user_message
            await keys.keep("turn", session_id=asked.session_id, user_message=asked.id, reply=self.reply_id)
            self._is_stored = True
            return reply
        stored = await messages.get(self.reply_id)
        assert stored is not None
        stored.content, stored.status = self._text, status
        stored.finish_reason, stored.usage, stored.sources = finish_reason, usage, sources
        return stored

    def _usage(self, end: Finished | Failed, started: Started) -> dict[str, object]:
        completion = end.completion_tokens if isinstance(end, Finished) else len(end.token_ids)
        reported = end.prompt_tokens if isinstance(end, Finished) else None
        prompt = started.prompt_tokens if reported is None else reported
        duration_ms = self._elapsed_ms()
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": self._cached_tokens(end, started)},
            "token_counts": self._model.engine.model.token_counts if reported is None else "exact",
            "ttft_ms": round(duration_ms if self._ttft_ms is None else self._ttft_ms, 1),
            "duration_ms": round(duration_ms, 1),
            "engine_ms": round(self._generation.took_s * 1000, 1),
            "seed": started.seed,
            "dtype": self._model.engine.model.dtype,
        }

    @staticmethod
    def _cached_tokens(end: Finished | Failed, started: Started) -> int:
        reported = end.cached_tokens if isinstance(end, Finished) else None
        return started.cached_tokens if reported is None else reported

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self.admitted.arrived_at) * 1000
