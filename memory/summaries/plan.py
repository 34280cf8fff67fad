"""Which summary is to be made next: of which turns, and from which window on it is used.

Summaries follow the window: what it has left is summarised once, as an addition to the summary before. The
window's next cut is foretold, so its summary is made before. One that comes late waits for the cut after:
a new summary enters with a cut, so that a cut voids the prefix once.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from memory.lookahead import first_turn_after_cut
from memory.protocols import TurnCounts
from memory.strategies.base import Room, Strategy

STEP_TOKENS = 2000
"""Tokens of turns that are summarised at a time, at most (but one turn at least)."""


@dataclass(frozen=True, slots=True)
class Step:
    """Summarise the turns from `first_turn` up to, not including, `through_turn`."""

    first_turn: int
    through_turn: int


async def next_step(
    strategy: Strategy,
    counts: TurnCounts,
    room: Room,
    *,
    summarised_before: Callable[[int], Awaitable[int]],
) -> Step | None:
    """The next step; None if there is nothing to do.

    `summarised_before(turn)`: how far the summary goes that goes farthest, but not past that turn.
    """
    first = await strategy.first_turn(counts, room)
    after = await first_turn_after_cut(strategy, counts, room)
    for target in (first, after):
        if target is None or (summarised := await summarised_before(target)) >= target:
            continue
        begun = await counts.tokens_before(summarised)
        through = max(summarised + 1, await counts.first_turn_from(begun + STEP_TOKENS))
        return Step(summarised, min(target, through))
    return None


def enters_at(through_turn: int, used: int | None) -> int:
    """From which first turn on a summary that is made now stands in windows.

    `used`: the first turn of the window of the newest reply, if the same strategy chose it.
    """
    return through_turn if used is None else max(through_turn, used + 1)
