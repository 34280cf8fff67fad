"""What somebody waits for beside the model: messages on their way to it, and replies on their way back.

Work that nobody waits for lets them pass.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SETTLES_S = 0.005
"""In this time the end of a reply, stored, is on its way to the client."""
LONGEST_PAUSE_S = 1.0
"""So long work waits at the most: it is done all the same where somebody always waits."""


class Foreground:
    """The turns of this process that are at work beside the model."""

    def __init__(self, longest_pause_s: float = LONGEST_PAUSE_S) -> None:
        self._longest_pause_s = longest_pause_s
        self._turns = 0
        self._is_free = asyncio.Event()
        self._is_free.set()

    @property
    def is_busy(self) -> bool:
        return self._turns > 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Somebody waits until the block ends."""
        self._turns += 1
        self._is_free.clear()
        try:
            yield
        finally:
            self._turns -= 1
            if not self._turns:
                self._is_free.set()

    async def let_pass(self) -> None:
        """Wait until nobody waits, or for the longest pause."""
        await asyncio.sleep(SETTLES_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._longest_pause_s):
                await self._is_free.wait()
