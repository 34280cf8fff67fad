"""What extracts facts, and what it gets to do so."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from memory.facts.fact import PERSONA, USER, Found
from memory.messages import Message, Role

SOURCES: dict[Role, str] = {"user": USER, "assistant": PERSONA}
"""Messages of these roles tell facts, first of all of whom: so neither summaries nor notes nor what was
recalled is ever extracted from."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was found in a message, and by whom."""

    found: tuple[Found, ...]
    author: str


class Extractor(Protocol):
    """Extracts facts. `batch`: how many messages it is given between two times that its work is stored."""

    batch: int

    async def extract(self, message: Message) -> Extracted:
        """The facts that a message tells, each one checked."""


def about(message: Message) -> str | None:
    """Of whom a message tells in the first person; None if it is no source of facts."""
    return SOURCES.get(message.role)


def distinct(found: Sequence[Found]) -> tuple[Found, ...]:
    """Each fact once."""
    return tuple(
        {(each.subject, each.key, each.value.casefold(), each.ends): each for each in found}.values()
    )
