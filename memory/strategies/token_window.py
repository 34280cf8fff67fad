"""What strategies with a window by tokens have in common: parameters, where it begins, and the reasons."""

from abc import ABC
from typing import ClassVar

from pydantic import Field

from memory.protocols import History, TurnCounts
from memory.strategies.base import Room, Selection, Strategy, newest_turns
from memory.strategies.window import RETENTION_RATIO_DESCRIPTION, first_turn_by_tokens, low_water_by_tokens


class TokenWindowStrategy(Strategy, ABC):
    """Keeps as many whole newest turns as fit a budget, word for word."""

    about_older_turns: ClassVar[str] = ""
    """What is told of the turns that have left the window, beside that they are older."""

    token_budget: int = Field(
        1000, ge=1, le=10_000_000, description="Tokens of stored turns that the window holds at most."
    )
    retention_ratio: float = Field(0.7, ge=0.01, le=1.0, description=RETENTION_RATIO_DESCRIPTION)

    @property
    def tokens_beside_turns(self) -> int:
        """Tokens that are kept free from the start for what stands beside the turns: so the window begins
        where it would with any of it."""
        return 0

    def tokens_for_turns(self, room: int) -> int:
        """How many of `room` tokens the turns may take."""
        return max(0, room - self.tokens_beside_turns)

    def high_water(self, room: Room) -> int:
        """Tokens of turns over which the window moves."""
        return self.tokens_for_turns(min(self.token_budget, room.steady))

    async def first_turn(self, counts: TurnCounts, room: Room) -> int:
        high_water = self.high_water(room)
        low_water = low_water_by_tokens(
            high_water, retention_ratio=self.retention_ratio, beside=self.tokens_beside_turns
        )
        return await first_turn_by_tokens(
            counts, high_water=high_water, low_water=low_water, room=self.tokens_for_turns(room.now)
        )

    async def window(self, history: History, first_turn: int, room: Room) -> Selection:
        held, high_water = history.turn_count - first_turn, self.high_water(room)
        return await newest_turns(
            history,
            first_turn,
            reason=f"one of the newest {held} turns, within {high_water} tokens",
            left_out_reason=f"older than the newest {held} turns, which fill {high_water} tokens"
            + self.about_older_turns,
        )
