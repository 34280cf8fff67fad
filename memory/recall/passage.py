"""Passages: what is indexed and recalled as one."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from memory.messages import Role


class PassageKey(NamedTuple):
    """Where a passage stands: passages of one source that follow each other have consecutive numbers.

    A tuple, since a question hashes and compares thousands of them.
    """

    source: str
    number: int

    @classmethod
    def of_name(cls, name: str) -> "PassageKey":
        source, _, number = name.rpartition("/")
        return cls(source, int(number))

    @property
    def name(self) -> str:
        """The key in one word, as indexes keep it."""
        return f"{self.source}/{self.number}"

    def neighbour(self, distance: int) -> "PassageKey":
        return PassageKey(self.source, self.number + distance)


@dataclass(frozen=True, slots=True)
class Passage:
    """A message of a chat, a piece of a long one, or a piece of a document.

    `key.source` is the chat session or the document. `speaker` is a display name, empty for documents;
    `turn`, `role` and `message_id` are of messages only. `citation` says where in a document it is.
    `said_at`: when the message was said, with its zone.
    """

    key: PassageKey
    text: str
    speaker: str = ""
    role: Role | None = None
    said_at: datetime | None = None
    turn: int | None = None
    message_id: str | None = None
    citation: str = ""

    @property
    def episode(self) -> tuple[str, date | None]:
        """What it is a part of: a day of a chat, or a document."""
        return self.key.source, self.said_at.date() if self.said_at else None
