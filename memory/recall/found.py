"""What recall found for a message, on its way into the context: nothing that stands there already."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from memory.context import ContextMessage, RecallReport, Segment
from memory.protocols import ChatEncoder
from memory.recall.fill import fill
from memory.recall.passage import Passage
from memory.recall.ranking import Ranked

LONG_PIECE = 40
"""Characters from which on a part of a message counts as the same words, and not as a common word."""


@dataclass(frozen=True, slots=True)
class Found:
    """Passages that recall found, best first, and how it was asked for them. `encoder`: of the model."""

    ranked: Sequence[Ranked]
    encoder: ChatEncoder
    report: RecallReport

    def within(self, budget: int, standing: Iterable[Segment]) -> Segment | None:
        """What of it enters beside the segments that stand in the context, in at most `budget` tokens; None
        if nothing does. Blocks as long as the encoder does.

        Left out are messages that stand there, and others that say the same, as copies in a branch do.
        """
        said = [message for segment in standing if _is_said(segment) for message in segment.messages]
        held = {message.id for message in said if message.id}
        new = [each for each in self.ranked if not _is_repeated(each.passage, said)]
        return fill(new, budget, self.encoder, held)


def _is_said(segment: Segment) -> bool:
    return segment.kind in ("pinned", "turn", "message")


def _is_repeated(passage: Passage, said: Iterable[ContextMessage]) -> bool:
    return any(
        passage.role == message.role
        and (
            passage.text == message.content
            or (len(passage.text) >= LONG_PIECE and passage.text in message.content)
        )
        for message in said
    )
