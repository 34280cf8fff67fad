"""A preamble that keeps its share of attention, however long the sequence behind it becomes.

Softmax divides attention among all keys: what stands once at the beginning of a chat, as a persona does, gets
less of it the more is said. To add ln(n) to the score of a key is to have n copies of it. So the preamble's
keys count as if it stood there as often as makes its copies a fixed share of the tokens before one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

RULE = "copies 1"
"""Identifies what follows here: keys and values behind a preamble rest on that."""
SINKS = 4
"""The first keys of a sequence take attention that is meant for nothing (Xiao et al. 2023, arXiv:2309.17453);
they get no more of it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The first `tokens` of a sequence count as copies of themselves, the `share` of those before a token."""

    tokens: int
    share: float

    def acts_at(self, position: int) -> bool:
        """Whether a token there sees more of the preamble than stands there."""
        return position >= self.tokens and position * self.copies_per_token > 1

    @property
    def copies_per_token(self) -> float:
        """How often the preamble counts for each token before one."""
        return self.share / self.tokens

    def added(self, positions: Tensor, keys: Tensor) -> Tensor:
        """What to add to the scores of tokens at `positions`, for keys at `keys`: `[positions, keys]`."""
        return held(positions.unsqueeze(1), keys, self.tokens, self.copies_per_token)


def held(positions: Tensor, keys: Tensor, tokens: Tensor | int, copies_per_token: Tensor | float) -> Tensor:
    """The same by the numbers of a Hold, or of one for each of `positions [positions, 1]`; 0: nothing."""
    copies = (positions * copies_per_token).clamp(min=1.0)
    is_held = (keys >= SINKS) & (keys < tokens) & (positions >= tokens)
    return torch.where(is_held, copies.log(), 0.0)
