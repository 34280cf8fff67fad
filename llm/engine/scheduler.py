"""The scheduler: one thread that computes all sequences together, step by step.

In a step every reply that is decoding gets its next token, and prompts get what room is left, all in one
pass of the decoder. Between two steps jobs begin, end and are cancelled.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from llm.engine.admission import AdmissionQueue
from llm.engine.job import AwaitedJob, Job
from llm.engine.kv_store import KVStore
from llm.engine.prefix import PrefixJob
from llm.engine.slots import SlotPool
from llm.errors import QueueTimeoutError
from llm.model.decoder import Decoder, Span

PREFILL_CHUNK = 256
"""Prompt tokens in a step in which no reply is decoding."""
SMALL_CHUNK = 64
"""Prompt tokens in a step beside decoding replies, which wait for it."""
PREFIX_CHUNK = 128
"""Tokens in a step of a prefix job. A turn that comes meanwhile waits for it; fewer at a time would take
longer in all."""
DRAFT_ROWS = 8
"""The last token of a decoding reply and guesses of what follows, at most, in a step. On two cores a step
of so many rows takes about one and a half times as long as a step of one: few right guesses pay for it."""
MOST_WITH_DRAFTS = 2
"""Decoding replies with which guesses are made. More share the reading of the weights as it is, and each
would wait for the wrong guesses of all others."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class TokenCounts:
    """Tokens since the start: of prompts, found in the store and computed; and of replies.

    `prepared` were computed of coming prompts, by prefix jobs.
    `drafted` were guessed; `accepted` guesses were right and gave tokens that took no step of their own.
    """

    found: int = 0
    computed: int = 0
    generated: int = 0
    drafted: int = 0
    accepted: int = 0
    prepared: int = 0


class Scheduler:
    """Works off a queue, until it is closed. Other threads may look at `running` and `counts`.

    Up to `max_running` jobs run together, as far as their caches fit into `max_bytes`; one always runs.
    What they leave of the bytes is the store's. `prompt_lookup`: guess tokens of replies, where it pays.
    """

    def __init__(
        self,
        decoder: Decoder,
        store: KVStore,
        queue: AdmissionQueue,
        *,
        max_running: int,
        max_bytes: int,
        prompt_lookup: bool,
    ) -> None:
        self.running: list[AwaitedJob] = []
        self.counts = TokenCounts()
        self._prefix: PrefixJob | None = None
        self._decoder = decoder
        self._store = store
        self._slots = SlotPool(decoder.new_cache, max_idle=max_running)
        self._queue = queue
        self._max_running = max_running
        self._max_bytes = max_bytes
        self._prompt_lookup = prompt_lookup
        self._steps = 0
        self._forgotten: deque[str] = deque()

    def forget(self, conversation: str) -> None:
        """Use what is held of that conversation no more, from the next step on. For other threads."""
        self._forgotten.append(conversation)

    def work(self) -> None:
        """Run until the queue is closed and all that runs has ended."""
        while self.running or self._prefix or self._queue.wait_for_work():
            while self._forgotten:
                self._slots.forget(self._forgotten.popleft())
            self._end_cancelled()
            for job in self._queue.overdue():
                job.refuse(QueueTimeoutError(time.monotonic() - job.added_at))
            self._admit()
            if not self.running:
                self._prepare()
            elif picked := self._pick():
                self._step(picked)

    def _end_cancelled(self) -> None:
        for job in list(self.running):
            ends = job.is_cancelled or self._queue.is_closed
            if ends and self._guarded(job, job.end_cancelled):
                self._leave(job)

    def _admit(self) -> None:
        while (job := self._queue.next(self._fits)) is not None:
            self._park()
            self.running.append(job)
            self._guarded(job, partial(self._begin, job))

    def _begin(self, job: AwaitedJob) -> None:
        job.begin(self._slots, self._store)
        self.counts.found += job.cache.length

    def _fits(self, job: AwaitedJob) -> bool:
        if not self.running:
            return True
        tokens = job.max_length + sum(other.max_length for other in self.running)
        return (
            len(self.running) < self._max_running
            and tokens * self._decoder.kv_bytes_per_token <= self._max_bytes
        )

    def _pick(self) -> list[tuple[AwaitedJob, Span]]:
        """The next token of every decoding reply, and as much of the prompts as the step has room for."""
        decoding = [job for job in self.running if job.is_decoding]
        rows = DRAFT_ROWS if self._prompt_lookup and len(decoding) <= MOST_WITH_DRAFTS else 1
        picked = [(job, job.span(rows)) for job in decoding]
        room = SMALL_CHUNK if picked else PREFILL_CHUNK
        for job in self._prompts():
            if room:
                span = job.span(room)
                picked.append((job, span))
                room -= len(span.token_ids)
        return picked

    def _prompts(self) -> list[AwaitedJob]:
        """Jobs with a prompt to compute: the oldest first, in every other step the shortest first.

        So a short prompt is soon done beside a long one, and the long one is never stopped. What another
        is about to compute is left to it.
        """
        prompts = [job for job in list(self.running) if not job.is_decoding]
        prompts = [job for job in prompts if self._guarded(job, partial(self._look_up, job))]
        prompts = [job for job in prompts if not job.is_loading]
        free = [
            job
            for index, job in enumerate(prompts)
            if not any(job.waits_for(earlier) for earlier in prompts[:index])
        ]
        self._steps += 1
        return sorted(free, key=lambda job: job.remaining) if self._steps % 2 else free

    def _make_room(self, running: Sequence[Job]) -> None:
        """The bytes that running jobs leave are the store's, and what it leaves is for idle slots."""
        taken = sum(job.cache.nbytes for job in running)
        self._slots.shrink(self._max_bytes - taken - self._store.stats.nbytes)
        self._store.make_room(taken + self._slots.nbytes)

    def _look_up(self, job: AwaitedJob) -> None:
        before = job.cache.length
        job.look_up()
        self.counts.found += job.cache.length - before

    def _step(self, picked: Sequence[tuple[AwaitedJob, Span]]) -> None:
        began = time.monotonic()
        self._make_room(self.running)
        results = self._compute([span for _, span in picked])
        prompt_tokens = sum(len(span.token_ids) for job, span in picked if not job.is_decoding)
        self.counts.computed += prompt_tokens
        for (job, span), result in zip(picked, results, strict=True):
            if not self._guarded(job, partial(self._take, job, span, result)):
                continue
            if job.is_done:
                self._leave(job)
            elif job.is_decoding:
                self._queue.free_place(job)
        if prompt_tokens >= SMALL_CHUNK:
            self._queue.measured(prompt_tokens, time.monotonic() - began)

    def _compute(self, spans: Sequence[Span]) -> list[Tensor | Exception]:
        """The decoder's logits, or for those spans with which it fails, its error."""
        try:
            return list(self._decoder(spans))
        except Exception as error:  # one span may be at fault; the others are not to suffer
            if len(spans) == 1:
                return [error]
            return [self._compute([span])[0] for span in spans]

    def _take(self, job: AwaitedJob, span: Span, result: Tensor | Exception) -> None:
        if isinstance(result, Exception):
            raise result
        drafted = len(span.token_ids) - 1 if job.is_decoding else 0
        before = job.generated_tokens
        job.take(span, result)
        generated = job.generated_tokens - before
        self.counts.generated += generated
        self.counts.drafted += drafted
        self.counts.accepted += max(0, generated - 1)

    def _prepare(self) -> None:
        """A step of a prefix job, when nothing else runs."""
        if self._prefix is None:
            self._prefix = self._queue.next_prefix()
            if self._prefix is None:
                return
            self._prefix.begin(self._slots, self._store)
        job = self._prefix
        try:
            job.look_up()
            self._make_room([job])
            if not job.is_next and self._lacks_room(job):
                job.cancel()
            if job.remaining and not job.is_loading and not job.is_cancelled:
                span = job.span(PREFIX_CHUNK)
                [logits] = self._decoder([span])
                job.take(span, logits)
                self.counts.prepared += len(span.token_ids)
        except Exception:  # nobody waits: what it was to prepare is computed when it is asked for
            log.exception("a prefix could not be prepared")
            job.cancel()
        if job.is_cancelled or not job.remaining:
            self._queue.prefix_done(job)
            self._park()

    def _lacks_room(self, job: PrefixJob) -> bool:
        """Whether the store would have to give up blocks for what the job is to compute yet."""
        per_token = self._decoder.kv_bytes_per_token
        return 2 * job.remaining * per_token > self._store.free_bytes  # in its slot, and in the store

    def _park(self) -> None:
        """Stop the prefix job for now; what it has computed is in the store."""
        if self._prefix is not None:
            self._prefix.close()
            self._prefix = None

    def _leave(self, job: AwaitedJob) -> None:
        """Take a job out that has ended, and only then tell who waits for it."""
        job.close()
        self._queue.free_place(job)
        self.running.remove(job)
        job.report_end()

    def _guarded(self, job: AwaitedJob, action: Callable[[], None]) -> bool:
        """Do it for a running job; a fault ends this job alone."""
        try:
            action()
        except Exception as error:
            log.exception("a job of the engine failed")
            job.abandon()
            job.fail(error)
            self._leave(job)
            return False
        return True
