"""Filling a token budget with what was recalled: the best passages, shown in the order they were said."""

from collections.abc import Collection, Sequence
from itertools import pairwise

from memory.context import ContextMessage, Segment
from memory.protocols import ChatEncoder
from memory.recall.passage import Passage
from memory.recall.ranking import Ranked

HEADING = "From earlier conversations:"


def fill(
    ranked: Sequence[Ranked], budget: int, encoder: ChatEncoder, held: Collection[str]
) -> Segment | None:
    """One segment of at most `budget` tokens that tells the best passages, or None if none fits.

    Whole passages, by time, dated and attributed; none of a message whose id is in `held`.
    """
    chosen: list[Passage] = []
    for each in ranked:
        if each.passage.message_id in held or each.passage in chosen:
            continue
        text = recalled_text([*chosen, each.passage])
        if len(encoder.encode_message("system", text)) <= budget:
            chosen.append(each.passage)
    if not chosen:
        return None
    text = recalled_text(chosen)
    return Segment(
        kind="recalled",
        token_ids=encoder.encode_message("system", text),
        reason=f"{len(chosen)} passages that match the message",
        messages=(ContextMessage("system", text),),
    )


def recalled_text(passages: Sequence[Passage]) -> str:
    """What the model reads: a date above what was said then, oldest first, then pieces of documents."""
    ordered = sorted(passages, key=lambda passage: (passage.said_at is None, passage.said_at, passage.key))
    lines = [HEADING]
    for before, passage in pairwise([None, *ordered]):
        assert passage is not None
        place = _place(passage)
        if before is None or _place(before) != place:
            lines.append(f"[{place}]")
        lines.append(f"{passage.speaker}: {passage.text}" if passage.speaker else passage.text)
    return "\n".join(lines)


def _place(passage: Passage) -> str:
    return f"{passage.said_at:%A, %-d %B %Y}" if passage.said_at else passage.citation
