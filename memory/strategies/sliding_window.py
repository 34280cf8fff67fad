"""`sliding_window`: the newest k turns."""

from typing import Literal

from pydantic import Field

from memory.protocols import History, TurnCounts
from memory.strategies.base import Room, Selection, Strategy, newest_turns
from memory.strategies.window import (
    RETENTION_RATIO_DESCRIPTION,
    first_turn_by_count,
    first_turn_by_tokens,
    low_water_by_tokens,
)


class SlidingWindow(Strategy):
    """Keeps the newest turns word for word: at least `turns` of them, up to `turns / retention_ratio`.

    Forgets everything older. Where so many turns do not fit the context window, it holds fewer. For chats
    that live in the moment and whose turns are of similar length.
    """

    strategy: Literal["sliding_window"] = "sliding_window"
    turns: int = Field(10, ge=1, le=100_000, description="How many of the newest turns are always kept.")
    retention_ratio: float = Field(0.7, ge=0.01, le=1.0, description=RETENTION_RATIO_DESCRIPTION)

    async def first_turn(self, counts: TurnCounts, room: Room) -> int:
        return max(self._first_by_count(counts), await self._first_by_room(counts, room))

    async def window(self, history: History, first_turn: int, room: Room) -> Selection:
        held = history.turn_count - first_turn
        if first_turn > self._first_by_count(history):
            cause = f"no more turns fit the context window of {room.context_window} tokens"
        else:
            cause = f"the window keeps {self.turns} turns and moves in steps"
        return await newest_turns(
            history,
            first_turn,
            reason=f"one of the newest {held} turns",
            left_out_reason=f"older than the newest {held} turns: {cause}",
        )

    def _first_by_count(self, counts: TurnCounts) -> int:
        return first_turn_by_count(
            counts.turn_count, low_water=self.turns, retention_ratio=self.retention_ratio
        )

    async def _first_by_room(self, counts: TurnCounts, room: Room) -> int:
        low_water = low_water_by_tokens(room.steady, retention_ratio=self.retention_ratio)
        return await first_turn_by_tokens(counts, high_water=room.steady, low_water=low_water, room=room.now)
