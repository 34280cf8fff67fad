"""Notes of the system to one reply: beside the persona, not instead of it."""

from memory.context import ContextMessage, Segment
from memory.protocols import ChatEncoder


def note_segment(note: str, encoder: ChatEncoder, reason: str = "a note for this reply alone") -> Segment:
    """Blocks as long as the encoder does."""
    return Segment(
        kind="note",
        token_ids=encoder.encode_message("system", note),
        reason=reason,
        messages=(ContextMessage("system", note),),
    )
