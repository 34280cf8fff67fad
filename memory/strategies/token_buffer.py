"""`token_buffer`: the newest turns within a token budget."""

from typing import Literal

from pydantic import Field

from memory.protocols import History, TurnCounts
from memory.strategies.base import Room, Selection, Strategy, newest_turns
from memory.strategies.window import RETENTION_RATIO_DESCRIPTION, first_turn_by_tokens


class TokenBuffer(Strategy):
    """Keeps as many whole newest turns as fit `token_budget` tokens, word for word.

    Forgets everything older. The budget is of stored turns alone: persona, message and reply come on top.
    For chats whose turns differ in length, and where the cost of a turn must stay bounded.
    """

    strategy: Literal["token_buffer"] = "token_buffer"
    token_budget: int = Field(
        1000, ge=1, le=10_000_000, description="Tokens of stored turns that the window holds at most."
    )
    retention_ratio: float = Field(0.7, ge=0.01, le=1.0, description=RETENTION_RATIO_DESCRIPTION)

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
            left_out_reason=f"older than the newest {held} turns, which fill {high_water} tokens",
        )

    def _high_water(self, room: Room) -> int:
        return min(self.token_budget, room.steady)
