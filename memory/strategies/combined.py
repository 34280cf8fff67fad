"""`combined`: a summary of what has left the window, what recall finds for this message, the newest turns."""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from memory.protocols import History, TurnCounts
from memory.strategies.base import Room, Selection, newest_turns
from memory.strategies.recalling import RecallingStrategy
from memory.strategies.summarising import LEAST_SUMMARY_TOKENS, SummarisingStrategy, with_summary
from memory.strategies.window import RETENTION_RATIO_DESCRIPTION, first_turn_by_tokens

TOLERANCE = 1e-9
"""By so much may shares that are written as decimals add up to more than 1."""


class Combined(SummarisingStrategy, RecallingStrategy):
    """Keeps the newest turns word for word and a running summary of all older ones, and puts before each
    message what recall finds for it, in this chat's older turns and in earlier chats. Each has its share of
    the budget; a part with share 0 is off.

    Forgets only wording that is neither in the newest turns nor found for this message. The one to choose
    for a companion that is to stay itself, and to know its user, for a long time.
    """

    strategy: Literal["combined"] = "combined"
    token_budget: int = Field(
        2000, ge=128, le=10_000_000, description="Tokens of summary, recalled passages and turns at most."
    )
    summary_share: float = Field(
        0.15, ge=0.0, le=0.9, description="Share of the budget that the summary may take."
    )
    recalled_share: float = Field(
        0.35, ge=0.0, le=0.9, description="Share of the budget that recalled passages may take."
    )
    recent_share: float = Field(
        0.5, ge=0.1, le=1.0, description="Share of the budget that the newest turns may take."
    )
    retention_ratio: float = Field(0.7, ge=0.01, le=1.0, description=RETENTION_RATIO_DESCRIPTION)

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        shares = {
            "summary_share": self.summary_share,
            "recalled_share": self.recalled_share,
            "recent_share": self.recent_share,
        }
        if sum(shares.values()) > 1 + TOLERANCE:
            written = " + ".join(f"{name} {share:g}" for name, share in shares.items())
            raise ValueError(f"the shares must add up to at most 1: {written} = {sum(shares.values()):g}")
        if self.summary_share and self.summary_tokens < LEAST_SUMMARY_TOKENS:
            raise ValueError(
                f"summary_share {self.summary_share:g} of {self.token_budget} tokens is "
                f"{self.summary_tokens}: a summary needs at least {LEAST_SUMMARY_TOKENS}, or share 0"
            )
        return self

    @property
    def summary_tokens(self) -> int:
        return self._share(self.summary_share)

    @property
    def most_recalled_tokens(self) -> int:
        return self._share(self.recalled_share)

    async def first_turn(self, counts: TurnCounts, room: Room) -> int:
        return await first_turn_by_tokens(
            counts,
            high_water=self._high_water(room),
            retention_ratio=self.retention_ratio,
            room=self._beside_summary(room.now),
        )

    async def window(self, history: History, first_turn: int, room: Room) -> Selection:
        held, high_water = history.turn_count - first_turn, self._high_water(room)
        turns = await newest_turns(
            history,
            first_turn,
            reason=f"one of the newest {held} turns, within {high_water} tokens",
            left_out_reason=f"older than the newest {held} turns, which fill {high_water} tokens",
        )
        if not self.summary_tokens:
            return turns
        return await with_summary(history, turns, await history.summary(self.recipe, first_turn), room.now)

    def _high_water(self, room: Room) -> int:
        return min(self._share(self.recent_share), self._beside_summary(room.steady))

    def _beside_summary(self, room: int) -> int:
        """What the turns have of a room: where it is small, they go before the summary."""
        return max(0, room - self.summary_tokens, room // 2)

    def _share(self, share: float) -> int:
        return math.floor(self.token_budget * share + TOLERANCE)
