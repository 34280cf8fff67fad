"""What every peer can do: take the turns of one chat, and say what it would send."""

from collections.abc import Sequence
from typing import Protocol

from memory.messages import Role


class PeerMemory(Protocol):
    """A memory of one chat. `messages`: what it puts before the user's message, as role and content."""

    def messages(self, asked: str) -> Sequence[tuple[Role, str]]: ...

    def take_turn(self, said: str, replied: str) -> None: ...
