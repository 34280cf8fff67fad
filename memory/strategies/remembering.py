"""What strategies that keep facts have in common: their parameters, and the facts' place in the window."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Literal

from pydantic import Field

from memory.context import ContextMessage, LeftOut, Segment
from memory.facts.block import FactBlock
from memory.protocols import History
from memory.strategies.base import Selection, Strategy, turns_left_out

ExtractorName = Literal["auto", "rules", "llm", "off"]

NOT_READ_YET = "has left the window, and no facts are extracted from it yet"


class RememberingStrategy(Strategy, ABC):
    """Keeps what is known of the user and the persona."""

    extractor: ExtractorName = Field(
        "auto",
        description="Who extracts the facts. `llm`: the chat's model; `rules`: patterns, in English and "
        "Korean; `auto`: the model if it has 1B parameters or more; `off`: nobody, and what is known stays.",
    )

    @property
    @abstractmethod
    def fact_tokens(self) -> int:
        """Tokens of the facts at most; 0: none are kept."""


def remembering(strategy: Strategy) -> RememberingStrategy | None:
    """The strategy if it keeps facts."""
    return strategy if isinstance(strategy, RememberingStrategy) and strategy.fact_tokens else None


def facts_segment(block: FactBlock) -> Segment:
    dropped = f"; {block.left_out} more have no room" if block.left_out else ""
    return Segment(
        kind="facts",
        token_ids=block.token_ids,
        reason=f"what is known, {len(block.facts)} facts{dropped}",
        messages=(ContextMessage("system", block.text),),
        fact_ids=tuple(fact.id for fact in block.facts),
    )


async def with_facts(
    history: History, strategy: RememberingStrategy, first_turn: int, selection: Selection, most: int
) -> Selection:
    """Put the facts of a window that begins with `first_turn` before what else it holds.

    They take `most` tokens. Turns that have left it and that no facts are extracted from yet are named.
    """
    block = await history.facts(first_turn, max(0, most))
    segments = (facts_segment(block), *selection.segments) if block.facts else selection.segments
    if strategy.extractor == "off" or block.read_to >= first_turn:
        return replace(selection, segments=segments)
    left_out: tuple[LeftOut, ...] = ()
    for span in selection.left_out:
        end = span.last_turn + 1
        unread = min(max(span.first_turn, block.read_to), end)
        left_out += await turns_left_out(history, span.first_turn, unread, span.reason)
        left_out += await turns_left_out(history, unread, end, f"{span.reason}; {NOT_READ_YET}")
    return Selection(segments, left_out, awaits_summary=True)
