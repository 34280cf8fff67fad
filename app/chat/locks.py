"""One writer per chat session: those of this process one after the other, and one process at a time."""

import asyncio
from collections import Counter

from app.errors import SessionBusyProblem
from app.storage.claims import Claims, chat_claim


class SessionLocks:
    """Locks by session id. A lock exists only while somebody holds it or waits for it.

    Whoever has it has claimed the session for this process too.
    """

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()

    async def acquire(self, session_id: str, *, wait_s: float) -> None:
        """Take the lock, waiting up to `wait_s` seconds (0: not at all).

        Raises SessionBusyProblem and DatabaseUnavailableError.
        """
        lock = self._locks.setdefault(session_id, asyncio.Lock())
        if wait_s <= 0 and lock.locked():
            raise _busy(session_id)
        self._users[session_id] += 1
        try:
            async with asyncio.timeout(wait_s or None):
                await lock.acquire()
                try:
                    if not await self._claims.take(chat_claim(session_id), waits=wait_s > 0):
                        raise _busy(session_id)
                except BaseException:
                    lock.release()
                    raise
        except TimeoutError:
            self._leave(session_id)
            raise SessionBusyProblem(
                f"session {session_id} was still busy after {wait_s:g} s of waiting"
            ) from None
        except BaseException:
            self._leave(session_id)
            raise

    async def release(self, session_id: str) -> None:
        """Let go of it; when this comes back, another process can take it."""
        try:
            await self._claims.release(chat_claim(session_id))
        finally:
            self._locks[session_id].release()
            self._leave(session_id)

    def _leave(self, session_id: str) -> None:
        self._users[session_id] -= 1
        if not self._users[session_id]:
            del self._users[session_id], self._locks[session_id]


def _busy(session_id: str) -> SessionBusyProblem:
    return SessionBusyProblem(
        f"session {session_id} is answering another message; "
        'send with "if_busy": "wait" to be answered after it'
    )
