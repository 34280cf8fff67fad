"""The bound on requests that are under way at a remote server."""

import threading

from llm.errors import EngineClosedError, QueueFullError

RETRY_AFTER_S = 1
"""A server works on many requests at once: one soon ends."""


class Places:
    """One request runs and up to `max_waiting` more are let through; the server orders them. Thread-safe."""

    def __init__(self, max_waiting: int) -> None:
        self._max_places = max_waiting + 1
        self._taken = 0
        self._lock = threading.Lock()
        self._is_closed = False

    def take(self) -> None:
        """Raises QueueFullError or EngineClosedError."""
        with self._lock:
            if self._is_closed:
                raise EngineClosedError("the engine has been closed")
            if self._taken >= self._max_places:
                raise QueueFullError(self._taken - 1, RETRY_AFTER_S)
            self._taken += 1

    def give_back(self) -> None:
        with self._lock:
            self._taken -= 1

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
