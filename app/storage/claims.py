"""Claims: what one at a time may do, named, such as to write to a chat session; across processes too.

A claim ends with its process, whichever way that goes. In a database of one process there is nobody to claim
against; what a server grants is in `app.storage.shared_claims`.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import ClassVar

from sqlalchemy.ext.asyncio import AsyncSession

CLAIMS = "claims"
"""In `AsyncSession.info`: the claims that writing units check."""

OnCall = Callable[[str], object]


def chat_claim(session_id: str) -> str:
    """To be the one writer of a chat session."""
    return f"chat {session_id}"


class Claims(ABC):
    """The claims of this process on one database. No name is claimed twice at once by the same process."""

    is_shared: ClassVar[bool]
    """Whether other processes work on the database too."""

    @abstractmethod
    async def take(self, name: str, *, waits: bool) -> bool:
        """Claim it; whether it was free. `waits`: until it is. Raises DatabaseUnavailableError."""

    @abstractmethod
    async def release(self, name: str) -> None:
        """Let go of a claim; when this comes back another process can take it. Never raises."""

    @abstractmethod
    async def take_places(self, name: str, count: int, most: int) -> list[str] | None:
        """So many of the `most` places of that name, as claims to release; None if not all are free."""

    @abstractmethod
    async def is_held(self, session: AsyncSession, name: str) -> bool:
        """Whether a process holds it at this moment."""

    @abstractmethod
    async def check(self, session: AsyncSession, names: Collection[str]) -> None:
        """Raise ClaimLostError if one of these that this process took is its own no more."""

    @abstractmethod
    async def call(self, name: str) -> None:
        """Have the other processes hear that name (`heard_by`). Raises DatabaseUnavailableError."""

    @abstractmethod
    def heard_by(self, on_call: OnCall) -> None:
        """Have this called, soon after, with what other processes call."""

    @abstractmethod
    async def listen(self) -> None:
        """Hear calls from now on. Raises DatabaseUnavailableError."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of all."""

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[None]:
        """Hold a claim, once it is free. Raises DatabaseUnavailableError."""
        await self.take(name, waits=True)
        try:
            yield
        finally:
            await self.release(name)


class OwnClaims(Claims):
    """Of the one process that has the database: whoever asks gets it."""

    is_shared = False

    def __init__(self) -> None:
        self._held: set[str] = set()

    async def take(self, name: str, *, waits: bool) -> bool:  # noqa: ARG002
        self._held.add(name)
        return True

    async def release(self, name: str) -> None:
        self._held.discard(name)

    async def take_places(self, name: str, count: int, most: int) -> list[str] | None:
        free = [place for place in places_of(name, most) if place not in self._held][:count]
        if len(free) < count:
            return None
        self._held.update(free)
        return free

    async def is_held(self, session: AsyncSession, name: str) -> bool:  # noqa: ARG002
        return name in self._held

    async def check(self, session: AsyncSession, names: Collection[str]) -> None:
        """Nobody can have taken them away."""

    async def call(self, name: str) -> None:
        """There is nobody to hear it."""

    def heard_by(self, on_call: OnCall) -> None:
        """Nobody calls."""

    async def listen(self) -> None:
        """There is nothing to hear."""

    async def close(self) -> None:
        self._held.clear()


def places_of(name: str, most: int) -> list[str]:
    return [f"{name} {number}" for number in range(most)]
