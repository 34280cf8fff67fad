"""A submitted request, as its caller sees it: a stream of events from the engine's thread, and `cancel`."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

from llm.engine.interface import Event, Failed, Finished


class EventStream:
    """`llm.engine.interface.Generation` of an engine that runs on another thread."""

    def __init__(self, on_cancel: Callable[[], None]) -> None:
        self._on_cancel = on_cancel
        self._began_at = time.perf_counter()
        self._ended_at: float | None = None
        self._changed = threading.Condition()
        self._events: deque[Event] = deque()
        self._wake_loop: Callable[[], None] | None = None
        self._cancelled = threading.Event()

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self) -> None:
        self._cancelled.set()
        self._on_cancel()

    @property
    def took_s(self) -> float:
        return (self._ended_at or time.perf_counter()) - self._began_at

    def put(self, event: Event) -> None:
        """Called by the engine. Wakes whoever iterates."""
        if isinstance(event, Finished | Failed):
            self._ended_at = time.perf_counter()
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()
            wake_loop = self._wake_loop
        if wake_loop is not None:
            wake_loop()

    def __iter__(self) -> Iterator[Event]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._events)
                event = self._events.popleft()
            yield event
            if isinstance(event, Finished | Failed):
                return

    async def __aiter__(self) -> AsyncIterator[Event]:
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()

        def wake_loop() -> None:
            with suppress(RuntimeError):  # the loop has been closed: nobody listens any more
                loop.call_soon_threadsafe(arrived.set)

        with self._changed:
            self._wake_loop = wake_loop
        try:
            while True:
                arrived.clear()
                while self._events:
                    event = self._events.popleft()
                    yield event
                    if isinstance(event, Finished | Failed):
                        return
                await arrived.wait()
        finally:
            with self._changed:
                self._wake_loop = None
