"""Means with confidence intervals. Rows of one chat depend on each other, so whole chats are drawn anew."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000
LEVEL = 95.0
SEED = 7
LEAST_CHATS = 3
"""With fewer there is no interval: what is drawn from one or two chats says nothing of others."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean of `count` values of `chats` chats, and its 95% interval, where there is one."""

    mean: float
    low: float | None
    high: float | None
    count: int
    chats: int

    @property
    def half_width(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def is_not_zero(self) -> bool:
        """Whether the interval leaves 0 out; of a paired difference: whether it is significant."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def estimate(values: Sequence[float], chats: Sequence[Hashable]) -> Estimate:
    """The mean of the values, each of a chat, and its bootstrap interval by chat.

    Raises ValueError if there are no values.
    """
    if not values:
        raise ValueError("there is no mean of nothing")
    numbers = {chat: number for number, chat in enumerate(dict.fromkeys(chats))}
    places = np.array([numbers[chat] for chat in chats])
    of_chat = np.asarray(values, dtype=np.float64)
    sums = np.bincount(places, weights=of_chat)
    counts = np.bincount(places)
    low = high = None
    if len(numbers) >= LEAST_CHATS:
        drawn = np.random.default_rng(SEED).integers(len(numbers), size=(DRAWS, len(numbers)))
        means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
        low, high = (float(np.percentile(means, each)) for each in ((100 - LEVEL) / 2, (100 + LEVEL) / 2))
    return Estimate(float(of_chat.mean()), low, high, len(values), len(numbers))
