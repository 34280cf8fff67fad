"""A chat that memories are given, and what is asked at its end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from memory.messages import Role
from memory.persona import Persona

Said = tuple[Role, str]
"""Who says it, and what."""

BEGAN, A_TURN = datetime(2026, 1, 5, 9, 30, tzinfo=UTC), timedelta(hours=7)


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat by a name that no other chat of the evaluation has. Each turn is a message and its reply.

    `times`: when each turn was said, of a chat that was.
    """

    name: str
    turns: tuple[tuple[str, str], ...]
    persona: Persona | None = None
    times: tuple[datetime, ...] | None = None

    def said_at(self, turn: int) -> datetime:
        """When a turn was said: the same in every run."""
        return BEGAN + turn * A_TURN if self.times is None else self.times[turn]


@dataclass(frozen=True, slots=True)
class Asked:
    """A message behind the last turn of a chat. `evidence`: the numbers of the turns that answer it."""

    content: str
    evidence: tuple[int, ...] = ()


def as_messages(turns: Sequence[tuple[str, str]]) -> list[Said]:
    said: list[Said] = []
    for message, reply in turns:
        said += [("user", message), ("assistant", reply)]
    return said
