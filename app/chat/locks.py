"""One writer per chat session."""

import asyncio
from collections import Counter

from app.errors import SessionBusyProblem


class SessionLocks:
    """Locks by session id. A lock exists only while somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()

    async def acquire(self, session_id: str, *, wait_s: float) -> None:
        """Take the lock, waiting up to `wait_s` seconds (0: not at all). Raises SessionBusyProblem."""
        lock = self._locks.setdefault(session_id, asyncio.Lock())
        if wait_s <= 0 and lock.locked():
            raise SessionBusyProblem(
                f"session {session_id} is answering another message; "
                'send with "if_busy": "wait" to be answered after it'
            )
        self._users[session_id] += 1
        try:
            async with asyncio.timeout(wait_s or None):
                await lock.acquire()
        except TimeoutError:
            self._leave(session_id)
            raise SessionBusyProblem(
                f"session {session_id} was still busy after {wait_s:g} s of waiting"
            ) from None
        except BaseException:
            self._leave(session_id)
            raise

    def release(self, session_id: str) -> None:
        self._locks[session_id].release()
        self._leave(session_id)

    def _leave(self, session_id: str) -> None:
        self._users[session_id] -= 1
        if not self._users[session_id]:
            del self._users[session_id], self._locks[session_id]
