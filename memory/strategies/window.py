"""Where a window of the newest turns begins: pure functions of stored counts and settings.

The window moves in steps (hysteresis): it grows to a high-water mark, then drops whole turns down to a
low-water mark, so that its beginning, and with it what the KV cache holds, stays the same for many turns.
The steps lie on a fixed grid over the chat's cumulative counts. So the beginning never depends on how the
chat got here: switching strategies and back, or a restart, gives the same window.
"""

import math

from memory.protocols import TurnCounts

RETENTION_RATIO_DESCRIPTION = (
    "Low-water mark as a share of the high-water mark, summary and facts counted in both. Smaller: the "
    "window moves less often and costs less to compute; 1.0: the exact window, moved every turn."
)


def first_turn_by_count(turn_count: int, *, low_water: int, retention_ratio: float) -> int:
    """The first of the newest turns, of which there are always `low_water` (if the chat has them).

    The window grows to `low_water / retention_ratio` turns, rounded up, and is then cut to `low_water`.
    """
    high_water = math.ceil(low_water / retention_ratio)
    step = high_water - low_water + 1
    return max(0, (turn_count - low_water) // step * step)


def low_water_by_tokens(high_water: int, *, retention_ratio: float, beside: int = 0) -> int:
    """Tokens of turns that a cut leaves, of at most `high_water`.

    A cut also computes anew what stands beside the turns (`beside` tokens of summary and facts), so that
    counts on the ratio: the longer it is, the more turns a cut drops, and the more turns pass until the next.
    With `t` new tokens a turn, turns and what stands beside them then cost `t / (1 - retention_ratio)`. Never
    is more than half of the turns dropped for it.
    """
    share = math.floor((high_water + beside) * retention_ratio) - beside
    return max(share, math.floor(high_water * min(retention_ratio, 0.5)))


async def first_turn_by_tokens(counts: TurnCounts, *, high_water: int, low_water: int, room: int) -> int:
    """The first of the newest turns that fit `high_water` tokens, and `room` tokens, whichever is less.

    Over the high-water mark, whole turns are dropped down to the low-water mark. Turns so long that a step
    would drop all of them fall back to the exact window: as many of the newest as fit.
    """
    limit = min(high_water, room)
    excess = counts.total_tokens - limit
    if excess <= 0:
        return 0
    step = high_water - low_water
    if step > 0:
        stepped = await counts.first_turn_from(math.ceil(excess / step) * step)
        if stepped < counts.turn_count:
            return stepped
    return await counts.first_turn_from(excess)
