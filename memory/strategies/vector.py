"""`vector`: the newest turns, and what recall finds for this message."""

from typing import Literal

from pydantic import Field

from memory.protocols import History, TurnCounts
from memory.strategies.base import Room, Selection, newest_turns
from memory.strategies.recalling import RecallingStrategy
from memory.strategies.window import RETENTION_RATIO_DESCRIPTION, first_turn_by_tokens


class Vector(RecallingStrategy):
    """Keeps the newest turns word for word, and puts before each message what recall finds for it: in this
    chat's older turns and in earlier chats.

    Forgets nothing for good, but knows of what is older only what was found for this message, and not how
    it all went. For chats that come back to single things said long ago, here or in other chats.
    """

    strategy: Literal["vector"] = "vector"
    token_budget: int = Field(
        1000, ge=1, le=10_000_000, description="Tokens of stored turns that the window holds at most."
    )
    recall_tokens: int = Field(
        512,
        ge=64,
        le=100_000,
        description="Tokens of what is recalled at most, beside the turns; never more than half of the "
        "room for both.",
    )
    retention_ratio: float = Field(0.7, ge=0.01, le=1.0, description=RETENTION_RATIO_DESCRIPTION)

    @property
    def most_recalled_tokens(self) -> int:
        return self.recall_tokens

    async def first_turn(self, counts: TurnCounts, room: Room) -> int:
        return await first_turn_by_tokens(
            counts,
            high_water=self._high_water(room),
            retention_ratio=self.retention_ratio,
            room=room.now,
        )

    async def window(self, history: History, first_turn: int, room: Room) -> Selection:
        high_water = self._high_water(room)
        held = history.turn_count - first_turn
        return await newest_turns(
            history,
            first_turn,
            reason=f"one of the newest {held} turns, within {high_water} tokens",
            left_out_reason=f"older than the newest {held} turns, which fill {high_water} tokens: here "
            "only if recalled",
        )

    def _high_water(self, room: Room) -> int:
        return min(self.token_budget, room.steady)
