"""What a file held, as every format is read: chats, personas, documents, and what was left out of it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from app.transfer.records import (
    DocumentPieceRecord,
    DocumentRecord,
    FactRecord,
    LoreRecord,
    MessageRecord,
    PersonaRecord,
    RefusedFactRecord,
    SessionRecord,
    SummaryRecord,
)
from memory.messages import Role


class TransferError(ValueError):
    """A file cannot be taken in. `place` says where: `line 3.swipes.0`, `0.mapping.abc`, or `body`."""

    def __init__(self, problem: str, place: str = "body") -> None:
        super().__init__(problem)
        self.place = place


@dataclass(slots=True)
class ChatArchive:
    """One chat; a message stands behind its parent.

    `place`: where in the file it is; `source_id`: what it was called where it comes from.
    """

    session: SessionRecord
    place: str
    source_id: str | None = None
    messages: list[MessageRecord] = field(default_factory=list)
    lore: list[LoreRecord] = field(default_factory=list)
    summaries: list[SummaryRecord] = field(default_factory=list)
    facts: list[FactRecord] = field(default_factory=list)
    refused_facts: list[RefusedFactRecord] = field(default_factory=list)


@dataclass(slots=True)
class DocumentArchive:
    """One document and its pieces, in order. `place`: where in the file it is."""

    document: DocumentRecord
    place: str
    pieces: list[DocumentPieceRecord] = field(default_factory=list)


@dataclass(slots=True)
class Archive:
    """`left_out` counts what could not be taken in, by what it was."""

    format: str
    chats: list[ChatArchive] = field(default_factory=list)
    personas: list[PersonaRecord] = field(default_factory=list)
    documents: list[DocumentArchive] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class SpokenMessage:
    """A message of the chat as it stands, and what was said in its place, itself included, oldest first."""

    role: Role
    content: str
    created_at: datetime
    is_excluded: bool
    alternatives: tuple[tuple[str, datetime], ...]
    chosen: int


@dataclass(frozen=True, slots=True)
class ChatHead:
    """What a file says of a chat as a whole."""

    user_name: str
    persona_name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Writer:
    """A format that a chat as it stands can be written in, message by message; `number` counts them."""

    media_type: str
    begin: Callable[[ChatHead], bytes]
    message: Callable[[ChatHead, SpokenMessage, int], bytes]
    end: bytes
