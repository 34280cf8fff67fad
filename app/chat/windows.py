"""The windows of replies: what is new enters a session's windows with a cut, and at no other time."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from sqlalchemy.ext.asyncio import AsyncSession

from app.chat.turn import RunningTurn
from app.storage.messages import Messages
from memory.strategies.base import Strategy


class ChosenWindows:
    """The windows of the turns that are `running` in this process, by their sessions, and of those before."""

    def __init__(self, running: Mapping[str, RunningTurn]) -> None:
        self._running = running
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def held(self, session_id: str) -> AsyncIterator[None]:
        """While a window is chosen for a turn that is not running yet, or something new finds its place.

        A summary stored in between would stand in the next turn's window and not in this one's, though both
        begin with the same turn. To be taken before a writing unit of the database is begun.
        """
        lock = self._locks.setdefault(session_id, asyncio.Lock())
        async with lock:
            yield

    async def first_turn(
        self, session: AsyncSession, owner: str, session_id: str, strategy: Strategy
    ) -> int | None:
        """The first turn of the newest reply's window, if that strategy chose it."""
        chosen_by = strategy.model_dump(mode="json")
        turn = self._running.get(session_id)
        if turn is not None and turn.admitted.context.strategy == chosen_by:
            segments = turn.admitted.context.segments
            return _first(((each.kind, each.turn) for each in segments), turn.admitted.user_message.turn)
        newest = await Messages(session, owner).newest_record(session_id)
        if newest is None or newest[1]["strategy"] != chosen_by:
            return None
        number, record = newest
        return _first(((each["kind"], each["turn"]) for each in record["segments"]), number)


def _first(segments: Iterable[tuple[str, int | None]], own_turn: int) -> int:
    """The first turn among segments, by kind and turn; in a window without any, that of its own message."""
    return min((turn for kind, turn in segments if kind == "turn" and turn is not None), default=own_turn)
