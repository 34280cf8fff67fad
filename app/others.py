"""Beside other processes on one database: what one left behind is taken up, and what they do is followed.

They need not know each other: all of it follows from what is stored, and from who holds which claim.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count

import structlog

from app.chat.abandoned import interrupt_abandoned
from app.chat.service import Chat
from app.deletions import Deleting
from app.storage.backend import DatabaseUnavailableError
from app.storage.database import Database
from app.storage.homes import Homes

log = structlog.get_logger()

LOOK_S = 5.0
INDEXES_EVERY = 6
"""Looks, of which one is also for what others have said, which is still to be indexed here."""
LEFT_AFTER = timedelta(minutes=2)
"""What a session lacks for so long, nobody is at."""


class OtherProcesses:
    """Those that share the database with this one, whose home has that name."""

    def __init__(self, database: Database, chat: Chat, deleting: Deleting, home_id: str) -> None:
        self._database = database
        self._chat = chat
        self._deleting = deleting
        self._home_id = home_id
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look after them, in the background."""
        self._looking = asyncio.create_task(self._look(), name="other processes")

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look(self) -> None:
        for number in count(1):
            await asyncio.sleep(LOOK_S)
            try:
                for owner, session_id in await interrupt_abandoned(self._database):
                    self._chat.after_change(owner, session_id)
                self._deleting.look()
                if number % INDEXES_EVERY == 0:
                    async with self._database.write() as session:
                        await Homes(session).note_seen(self._home_id)
                    await self._chat.recall.upkeep.find_lagging()
                    await self._chat.upkeep.find_lagging(changed_before=datetime.now(UTC) - LEFT_AFTER)
            except DatabaseUnavailableError as error:
                log.warning("other processes could not be looked after", reason=str(error))
            except Exception:
                log.exception("other processes could not be looked after")
