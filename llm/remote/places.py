"""The bound on what waits at a remote server, and the count of what went through."""

import threading

from llm.engine.interface import EngineStats, Finished
from llm.errors import EngineClosedError, QueueFullError

RETRY_AFTER_S = 1
"""A server works on many requests at once: one soon begins."""


class Places:
    """Prompts of up to `max_waiting_tokens` tokens wait at the server, which orders them. Thread-safe.

    A single prompt may be longer.
    """

    def __init__(self, max_waiting_tokens: int) -> None:
        self._max_waiting_tokens = max_waiting_tokens
        self._waiting = 0
        self._waiting_tokens = 0
        self._running = 0
        self._found = self._computed = self._generated = 0
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def stats(self) -> EngineStats:
        """Tokens as the server reported them; what its cache holds it does not say."""
        with self._lock:
            return EngineStats(
                running=self._running,
                waiting=self._waiting,
                waiting_tokens=self._waiting_tokens,
                found_tokens=self._found,
                computed_tokens=self._computed,
                generated_tokens=self._generated,
            )

    def take(self, tokens: int) -> None:
        """Raises QueueFullError or EngineClosedError."""
        with self._lock:
            if self._is_closed:
                raise EngineClosedError("the engine has been closed")
            if self._waiting and self._waiting_tokens + tokens > self._max_waiting_tokens:
                raise QueueFullError(self._waiting_tokens, RETRY_AFTER_S)
            self._waiting += 1
            self._waiting_tokens += tokens

    def give_back(self, tokens: int) -> None:
        with self._lock:
            self._waiting -= 1
            self._waiting_tokens -= tokens

    def begin(self, tokens: int) -> None:
        """What had a place is being generated now."""
        self.give_back(tokens)
        with self._lock:
            self._running += 1

    def end(self, finished: Finished | None) -> None:
        """What had begun has ended; None: with nothing known of it."""
        with self._lock:
            self._running -= 1
            if finished is not None:
                self._generated += finished.completion_tokens
                self._found += finished.cached_tokens or 0
                self._computed += (finished.prompt_tokens or 0) - (finished.cached_tokens or 0)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
