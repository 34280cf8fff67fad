"""A question to documents: what the model is told beside their quotes, and the room that they have."""

from dataclasses import dataclass

from memory.context import Segment
from memory.notes import note_segment
from memory.protocols import ChatEncoder
from memory.strategies.base import Room

QUOTE_TOKENS = 1024
"""What quotes take at most, where the strategy does not keep more for what is recalled."""

QUOTED = (
    "Answer the next message from the quotes of documents above, and from nothing else. "
    "If they do not tell it, say so."
)
NOTHING_FOUND = (
    "No document tells anything for the next message. Say that nothing was found, and do not make it up."
)
REASON = "the message asks documents"


@dataclass(frozen=True, slots=True)
class QuoteNotes:
    """What stands between the quotes and the question, and what stands there without any."""

    quoted: Segment
    nothing_found: Segment

    @property
    def tokens(self) -> int:
        return max(self.quoted.tokens, self.nothing_found.tokens)


def quote_notes(encoder: ChatEncoder) -> QuoteNotes:
    """Blocks as long as the encoder does."""
    return QuoteNotes(
        note_segment(QUOTED, encoder, REASON),
        note_segment(NOTHING_FOUND, encoder, REASON),
    )


def quote_budget(room: Room) -> int:
    """Tokens that quotes may take: of this window only, and never more than half of what turns have."""
    return min(max(room.recalled, min(QUOTE_TOKENS, (room.steady + room.recalled) // 2)), max(0, room.now))
