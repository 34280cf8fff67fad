"""The bounded queue before the engine's thread."""

import math
import threading
import time
from collections import deque
from typing import Protocol

from llm.errors import EngineClosedError, QueueFullError

FIRST_GUESS_S = 5.0
SMOOTHING = 0.2


class Job(Protocol):
    """A piece of work for the engine's thread. Neither method may raise."""

    def run(self) -> None: ...

    def refuse(self) -> None:
        """Called instead of `run` if the engine closes first."""


class JobQueue:
    """One job runs, up to `max_waiting` wait. A job needs a place, taken before it is added. Thread-safe."""

    def __init__(self, max_waiting: int) -> None:
        self._max_places = max_waiting + 1
        self._places = 0
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._job_s = FIRST_GUESS_S

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def take_place(self) -> None:
        """Raises QueueFullError, with the time until a place is likely to be free, or EngineClosedError."""
        with self._changed:
            self._check_open()
            if self._places >= self._max_places:
                raise QueueFullError(self._places - 1, max(1, math.ceil(self._job_s)))
            self._places += 1

    def give_place_back(self) -> None:
        with self._changed:
            self._places -= 1

    def add(self, job: Job) -> None:
        """Raises EngineClosedError; the place is then still the caller's to give back."""
        with self._changed:
            self._check_open()
            self._waiting.append(job)
            self._changed.notify()

    def withdraw(self, job: Job) -> bool:
        """Take a job that has not begun out of the queue, place and all; whether it was still there."""
        with self._changed:
            if job not in self._waiting:
                return False
            self._waiting.remove(job)
            self._places -= 1
            return True

    def work(self) -> None:
        """Run the jobs as they come, until the queue is closed."""
        while (job := self._next()) is not None:
            began = time.monotonic()
            job.run()
            with self._changed:
                self._places -= 1
                self._job_s += SMOOTHING * (time.monotonic() - began - self._job_s)

    def close(self) -> None:
        """Refuse what waits and what comes; `work` ends after the job that runs."""
        with self._changed:
            self._is_closed = True
            refused = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for job in refused:
            job.refuse()

    def _next(self) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            return self._waiting.popleft() if self._waiting else None

    def _check_open(self) -> None:
        if self._is_closed:
            raise EngineClosedError("the engine has been closed")
