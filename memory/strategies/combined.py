"""`combined`: facts and a summary of what has left the window, what recall finds for this message, the newest
turns."""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from memory.protocols import History
from memory.strategies.base import Room, Selection
from memory.strategies.recalling import RecallingStrategy
from memory.strategies.remembering import RememberingStrategy, with_facts
from memory.strategies.summarising import LEAST_SUMMARY_TOKENS, SummarisingStrategy, with_summary
from memory.strategies.token_window import TokenWindowStrategy

TOLERANCE = 1e-9
"""By so much may shares that are written as decimals add up to more than 1."""

DEFAULT_FACTS_SHARE = 0.1


class Combined(TokenWindowStrategy, SummarisingStrategy, RememberingStrategy, RecallingStrategy):
    """Keeps the newest turns word for word, a running summary of all older ones and the facts that they tell
    of the user and the persona, and puts before each message what recall finds for it, in this chat's older
    turns and in earlier chats. Each has its share of the budget; a part with share 0 is off.

    Forgets only wording that is neither in the newest turns nor found for this message. The one to choose
    for a companion that is to stay itself, and to know its user, for a long time.
    """

    strategy: Literal["combined"] = "combined"
    token_budget: int = Field(
        2000,
        ge=128,
        le=10_000_000,
        description="Tokens of facts, summary, recalled passages and turns at most.",
    )
    facts_share: float | None = Field(
        None,
        ge=0.0,
        le=0.9,
        description="Share of the budget that the facts may take; null: "
        f"{DEFAULT_FACTS_SHARE}, or what the other shares leave.",
    )
    summary_share: float = Field(
        0.15, ge=0.0, le=0.9, description="Share of the budget that the summary may take."
    )
    recalled_share: float = Field(
        0.4,
        ge=0.0,
        le=0.9,
        description="Share of the budget that is kept for recalled passages; half as much again is theirs "
        "where the other parts leave it.",
    )
    recent_share: float = Field(
        0.35, ge=0.1, le=1.0, description="Share of the budget that the newest turns may take."
    )

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        shares = {
            "facts_share": self.facts_share or 0.0,
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
    def fact_tokens(self) -> int:
        left = max(0.0, 1 - self.summary_share - self.recalled_share - self.recent_share)
        return self._share(min(DEFAULT_FACTS_SHARE, left) if self.facts_share is None else self.facts_share)

    @property
    def most_recalled_tokens(self) -> int:
        return self._share(self.recalled_share)

    @property
    def tokens_beside_turns(self) -> int:
        return self.summary_tokens + self.fact_tokens

    def tokens_for_turns(self, room: int) -> int:
        """Where there is little room, turns go before summary and facts."""
        return max(super().tokens_for_turns(room), room // 2)

    def high_water(self, room: Room) -> int:
        return min(self._share(self.recent_share), self.tokens_for_turns(room.steady))

    def recalled_beside(self, selection: Selection, room: Room) -> int:
        """Up to half as much again as its share, if the other parts leave that of the budget: nothing stands
        behind it that would move."""
        left = min(self.token_budget, room.steady + room.recalled) - selection.tokens
        return max(room.recalled, min(left, self.most_recalled_tokens * 3 // 2))

    async def window(self, history: History, first_turn: int, room: Room) -> Selection:
        selection = await super().window(history, first_turn, room)
        if self.summary_tokens:
            summary = await history.summary(self.recipe, first_turn)
            selection = await with_summary(history, selection, summary, room.now)
        if self.fact_tokens:
            # What they have in every turn: else they would give way as the turns grow, and void the prefix.
            kept_free = max(0, room.steady - self.high_water(room) - self.summary_tokens)
            most = min(self.fact_tokens, kept_free, room.now - selection.tokens)
            selection = await with_facts(history, self, first_turn, selection, most)
        return selection

    def _share(self, share: float) -> int:
        return math.floor(self.token_budget * share + TOLERANCE)
