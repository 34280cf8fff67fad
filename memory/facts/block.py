"""The facts of a window: one message of the system, within its tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from memory.facts.fact import OWNER, Fact
from memory.fence import one_line
from memory.fitting import most_that_fit

OPENING = "What is known, and since when:"
FEW = 8
"""Facts that are tried first."""

Encode = Callable[[str], tuple[int, ...]]
"""Token ids that the model gets of a system message."""


@dataclass(frozen=True, slots=True)
class FactBlock:
    """What a window tells of facts. `left_out`: how many there was no room for.

    `read_to`: the first turn that no facts are extracted from yet.
    """

    facts: tuple[Fact, ...]
    token_ids: tuple[int, ...]
    left_out: int
    read_to: int

    @property
    def text(self) -> str:
        return as_message([line_of(fact) for fact in self.facts])

    @property
    def tokens(self) -> int:
        return len(self.token_ids)


def fact_block(facts: Sequence[Fact], encode: Encode, max_tokens: int, *, read_to: int) -> FactBlock:
    """As many of the facts that stand, given oldest first, as fit: those of the owner, then the newest.

    They are told in the order in which they were said, so that a new one comes behind what is cached.
    """
    ranked = sorted(range(len(facts)), key=lambda place: (facts[place].author == OWNER, place), reverse=True)

    @cache
    def first(count: int) -> FactBlock:
        chosen = tuple(facts[place] for place in sorted(ranked[:count]))
        token_ids = encode(as_message([line_of(fact) for fact in chosen])) if chosen else ()
        return FactBlock(chosen, token_ids, len(facts) - count, read_to)

    return first(most_that_fit(len(facts), lambda count: first(count).tokens <= max_tokens, FEW))


def line_of(fact: Fact) -> str:
    return f"- {one_line(fact.text)} ({fact.said_at:%Y-%m-%d})"


def as_message(lines: Sequence[str]) -> str:
    """The content of the system message that facts stand in the context as."""
    return "\n".join([OPENING, *lines])
