"""The facts of a window: one message of the system, within its tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from memory.facts.fact import OWNER, Fact

OPENING = "What is known, and since when:"

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

    def first(count: int) -> tuple[tuple[Fact, ...], tuple[int, ...]]:
        chosen = tuple(facts[place] for place in sorted(ranked[:count]))
        return chosen, encode(as_message([line_of(fact) for fact in chosen])) if chosen else ()

    fits, too_many, count = 0, len(facts) + 1, min(len(facts), 8)
    while too_many - fits > 1:
        if len(first(count)[1]) <= max_tokens:
            fits = count
        else:
            too_many = count
        count = min(2 * fits, too_many - 1) if too_many > len(facts) else (fits + too_many) // 2
    chosen, token_ids = first(fits)
    return FactBlock(chosen, token_ids, len(facts) - fits, read_to)


def line_of(fact: Fact) -> str:
    return f"- {fact.text} ({fact.said_at:%Y-%m-%d})"


def as_message(lines: Sequence[str]) -> str:
    """The content of the system message that facts stand in the context as."""
    return "\n".join([OPENING, *lines])
