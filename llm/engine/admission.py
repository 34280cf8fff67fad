"""The bounded queue before the scheduler."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain

from llm.engine.job import AwaitedJob
from llm.engine.prefix import PrefixJob
from llm.errors import EngineClosedError, QueueFullError

LEAST_COST = 64
"""Tokens that a waiting request counts at least, so that their number is bounded too."""
FIRST_GUESS = 200.0
"""Prefill rate before any was measured, in tokens a second."""
SMOOTHING = 0.2


class AdmissionQueue:
    """Jobs that wait, oldest first, and places: up to `max_tokens` of prompts to compute. Thread-safe.

    A job needs a place, taken before it is added and held until its prompt is computed: its cost in
    tokens. Prefix jobs need none: they run when nothing else does.
    """

    def __init__(self, max_tokens: int, timeout_s: float) -> None:
        self.changed = threading.Condition()
        self._max_tokens = max_tokens
        self._timeout_s = timeout_s
        self._taken = 0
        self._waiting: deque[AwaitedJob] = deque()
        self._costs: dict[AwaitedJob, int] = {}
        self._prefixes: dict[str, list[PrefixJob]] = {}
        self._is_closed = False
        self._rate = FIRST_GUESS
        self._full_since: float | None = None
        self._freed = 0
        self._promised_until = 0.0

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    @property
    def waiting(self) -> tuple[int, int]:
        """How many jobs wait, and how many tokens are taken by those that have a place."""
        with self.changed:
            return len(self._waiting), self._taken

    def take_place(self, tokens: int) -> int:
        """The cost of a place for a job that has so many tokens to compute.

        Raises QueueFullError, with the time until there is room behind those that were refused before, or
        EngineClosedError. One job always has a place, however large it is.
        """
        cost = max(tokens, LEAST_COST)
        with self.changed:
            self._check_open()
            if self._taken and self._taken + cost > self._max_tokens:
                too_many = self._taken + cost - self._max_tokens
                raise QueueFullError(self._taken, self._promise_room(too_many, cost))
            self._taken += cost
            return cost

    def give_place_back(self, cost: int) -> None:
        with self.changed:
            self._free(cost)

    def add(self, job: AwaitedJob, cost: int) -> None:
        """The job now has the place. Raises EngineClosedError; the place is then still the caller's."""
        with self.changed:
            self._check_open()
            self._waiting.append(job)
            self._costs[job] = cost
            self.changed.notify_all()

    def free_place(self, job: AwaitedJob) -> None:
        """The job's prompt is computed, or it has ended. Idempotent."""
        with self.changed:
            cost = self._costs.pop(job, 0)
            self._freed += cost
            self._free(cost)

    def withdraw(self, job: AwaitedJob) -> bool:
        """Take a job that has not begun out of the queue, place and all; whether it was still there."""
        with self.changed:
            if job not in self._waiting:
                return False
            self._waiting.remove(job)
            self.free_place(job)
            return True

    def next(self, fits: Callable[[AwaitedJob], bool]) -> AwaitedJob | None:
        """The oldest job, if it fits."""
        with self.changed:
            return self._waiting.popleft() if self._waiting and fits(self._waiting[0]) else None

    def overdue(self) -> list[AwaitedJob]:
        """Jobs that have waited too long; they are out of the queue now."""
        before = time.monotonic() - self._timeout_s
        with self.changed:
            return [job for job in list(self._waiting) if job.added_at < before and self.withdraw(job)]

    def set_prefixes(self, conversation: str, jobs: Sequence[PrefixJob]) -> None:
        """Prepare those, in this order, and nothing else for the conversation."""
        with self.changed:
            for old in self._prefixes.pop(conversation, []):
                old.cancel()
            if jobs and not self._is_closed:
                self._prefixes[conversation] = list(jobs)
                self.changed.notify_all()

    def next_prefix(self) -> PrefixJob | None:
        """The prefix job to work on, which stays in the queue: one of a next prompt before all others."""
        with self.changed:
            first = [jobs[0] for jobs in self._prefixes.values()]
            return min(first, key=lambda job: not job.is_next, default=None)

    def prefix_done(self, job: PrefixJob) -> None:
        with self.changed:
            for conversation, jobs in list(self._prefixes.items()):
                if job in jobs:
                    jobs.remove(job)
                    if not jobs:
                        del self._prefixes[conversation]

    def measured(self, tokens: int, seconds: float) -> None:
        """So many prompt tokens were computed in that time."""
        with self.changed:
            self._rate += SMOOTHING * (tokens / seconds - self._rate)

    def wait_for_work(self) -> bool:
        """Block until there is a job or the queue is closed; whether there is a job."""
        with self.changed:
            self.changed.wait_for(lambda: self._waiting or self._prefixes or self._is_closed)
            return not self._is_closed

    def close(self) -> list[AwaitedJob]:
        """Take no more; gives the jobs that waited."""
        with self.changed:
            self._is_closed = True
            refused = list(self._waiting)
            self._waiting.clear()
            for job in chain.from_iterable(self._prefixes.values()):
                job.cancel()
            self._prefixes.clear()
            self.changed.notify_all()
            return refused

    def _free(self, cost: int) -> None:
        self._taken -= cost
        if self._taken <= self._max_tokens // 2:
            self._full_since = None

    def _promise_room(self, too_many: int, cost: int) -> int:
        """Seconds after which one that is refused has room. Each is promised another time: a crowd that
        all came back at once would keep the service busy with refusing it."""
        now = time.monotonic()
        if self._full_since is None:
            self._full_since, self._freed = now, 0
        rate = self._rate
        if self._freed and now > self._full_since:
            # Prompts wait for running replies too.
            rate = min(rate, self._freed / (now - self._full_since))
        room_at = max(now + too_many / rate, self._promised_until)
        room_at = min(room_at, now + max(1.0, self._timeout_s))
        self._promised_until = room_at + cost / rate
        return max(1, math.ceil(room_at - now))

    def _check_open(self) -> None:
        if self._is_closed:
            raise EngineClosedError("the engine has been closed")
