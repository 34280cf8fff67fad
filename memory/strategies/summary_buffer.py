"""`summary_buffer`: a summary of what has left the window, and the newest turns verbatim."""

from typing import Literal

from pydantic import Field

from memory.protocols import History, TurnCounts
from memory.strategies.base import Room, Selection, newest_turns
from memory.strategies.summarising import BoundedSummaryStrategy, with_summary
from memory.strategies.window import RETENTION_RATIO_DESCRIPTION, first_turn_by_tokens


class SummaryBuffer(BoundedSummaryStrategy):
    """Keeps the newest turns word for word, and a running summary of all older ones.

    Forgets the wording of what it summarises, and what a summary of its length cannot hold. For long chats
    whose thread must not be lost and whose window must stay small.
    """

    strategy: Literal["summary_buffer"] = "summary_buffer"
    token_budget: int = Field(
        1000,
        ge=64,
        le=10_000_000,
        description="Tokens of summary and turns at most.",
    )
    retention_ratio: float = Field(0.7, ge=0.01, le=1.0, description=RETENTION_RATIO_DESCRIPTION)

    async def first_turn(self, counts: TurnCounts, room: Room) -> int:
        return await first_turn_by_tokens(
            counts,
            high_water=self._high_water(room),
            retention_ratio=self.retention_ratio,
            room=max(0, room.now - self.max_summary_tokens),
        )

    async def window(self, history: History, first_turn: int, room: Room) -> Selection:
        held = history.turn_count - first_turn
        turns = await newest_turns(
            history,
            first_turn,
            reason=f"one of the newest {held} turns, within {self._high_water(room)} tokens",
            left_out_reason="summarised",
        )
        return await with_summary(history, turns, await history.summary(self.recipe, first_turn), room.now)

    def _high_water(self, room: Room) -> int:
        """The summary's tokens are kept free for it from the start: so the window begins where it would
        with any summary."""
        return max(0, min(self.token_budget, room.steady) - self.max_summary_tokens)
