"""What makes summaries, and what that needs of others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from memory.messages import Message

Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""Vectors of unit length of some texts. It blocks."""
CountTokens = Callable[[str], int]
"""Tokens that the model gets of a summary's text, chat template included."""


@dataclass(frozen=True, slots=True)
class Names:
    """What the two who speak are called in a summary."""

    user: str = "User"
    assistant: str = "Assistant"

    def of(self, role: str) -> str:
        return {"user": self.user, "assistant": self.assistant}.get(role, "Note")


@dataclass(frozen=True, slots=True)
class Task:
    """One step: `turns` have left the window since `previous` was written, which is "" at first."""

    previous: str
    turns: Sequence[Message]
    names: Names
    max_tokens: int


class Summariser(Protocol):
    """Writes summaries. `author` is kept with each."""

    @property
    def author(self) -> str: ...

    async def summarise(self, task: Task) -> str:
        """The summary of all up to now, within `max_tokens`.

        Raises SummaryRefusedError if what came out cannot be used.
        """
