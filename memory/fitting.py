"""How much fits, where only trying tells, and trying takes long."""

from bisect import bisect_left
from collections.abc import Callable


def most_that_fit(most: int, fits: Callable[[int], bool], guess: int) -> int:
    """The largest count up to `most` that fits, or 0; where a count fits, smaller ones do too.

    `guess`, from 1, is doubled until it does not fit: so nothing is tried that is much larger than what does.
    """
    fitting, tried = 0, min(most, guess)
    while fitting < tried and fits(tried):
        fitting, tried = tried, min(most, 2 * tried)
    between = range(fitting + 1, tried)
    return fitting + bisect_left(between, True, key=lambda count: not fits(count))
