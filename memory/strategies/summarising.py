"""What strategies that summarise have in common: their parameters, and the summary's place in the window."""

import hashlib
from abc import ABC, abstractmethod
from typing import Literal

from pydantic import Field

from memory.context import ContextMessage, Segment
from memory.protocols import History
from memory.strategies.base import Selection, Strategy, turns_left_out
from memory.summaries.summary import Summary, as_message

SummariserName = Literal["auto", "extractive", "llm"]

DEFAULT_SUMMARY_TOKENS = 256
LEAST_SUMMARY_TOKENS = 32

NOT_YET = "has left the window and is not summarised yet"
NO_ROOM = "its summary does not fit beside this message"


class SummarisingStrategy(Strategy, ABC):
    """Keeps a running summary of the turns that have left the window."""

    summariser: SummariserName = Field(
        "auto",
        description="Who writes the summary. `llm`: the chat's model; `extractive`: the most telling "
        "sentences, word for word; `auto`: the model if it has 1B parameters or more, since small ones write "
        "poor summaries.",
    )
    summary_instructions: str | None = Field(
        None,
        min_length=1,
        max_length=20_000,
        description="What the `llm` summariser is told; null: our own text.",
    )

    @property
    @abstractmethod
    def summary_tokens(self) -> int:
        """Tokens of the summary at most; 0: none is made."""

    @property
    def recipe(self) -> str:
        """What decides how a summary is made; summaries of one recipe go on from each other."""
        settings = (self.summariser, self.summary_tokens, self.summary_instructions)
        return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]


class BoundedSummaryStrategy(SummarisingStrategy, ABC):
    """Keeps a summary whose tokens are set by themselves."""

    max_summary_tokens: int = Field(
        DEFAULT_SUMMARY_TOKENS,
        ge=LEAST_SUMMARY_TOKENS,
        le=100_000,
        description="Tokens of the summary at most.",
    )

    @property
    def summary_tokens(self) -> int:
        return self.max_summary_tokens


def summarising(strategy: Strategy) -> SummarisingStrategy | None:
    """The strategy if it makes summaries."""
    return strategy if isinstance(strategy, SummarisingStrategy) and strategy.summary_tokens else None


def summary_segment(summary: Summary) -> Segment:
    return Segment(
        kind="summary",
        token_ids=summary.token_ids,
        reason=f"the turns before turn {summary.through_turn}, in short, by {summary.author}",
        messages=(ContextMessage("system", as_message(summary.text)),),
        summary_id=summary.id,
        through_turn=summary.through_turn,
    )


async def with_summary(history: History, turns: Selection, summary: Summary | None, room: int) -> Selection:
    """Put the summary before the turns, if it fits `room`, and name what neither of them tells."""
    first_turn = turns.left_out[0].last_turn + 1 if turns.left_out else 0
    if summary is not None and summary.text and summary.tokens + turns.tokens > room:
        return Selection(turns.segments, await turns_left_out(history, 0, first_turn, NO_ROOM))
    told = summary.through_turn if summary else 0
    left_out = await turns_left_out(history, told, first_turn, NOT_YET)
    segments = (summary_segment(summary), *turns.segments) if summary and summary.text else turns.segments
    return Selection(segments, left_out, awaits_summary=told < first_turn)
