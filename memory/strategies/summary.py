"""`summary`: the running summary alone."""

from typing import Literal

from memory.protocols import History, TurnCounts
from memory.strategies.base import Room, Selection, newest_turns
from memory.strategies.summarising import BoundedSummaryStrategy, with_summary
from memory.strategies.window import first_turn_by_tokens


class RunningSummary(BoundedSummaryStrategy):
    """Keeps a running summary of the whole chat, and no turn word for word but those not summarised yet.

    Forgets all wording, and what a summary of its length cannot hold. For chats where the topic counts and
    nothing else, in very small windows.
    """

    strategy: Literal["summary"] = "summary"

    async def first_turn(self, counts: TurnCounts, room: Room) -> int:  # noqa: ARG002
        return counts.turn_count

    async def window(self, history: History, first_turn: int, room: Room) -> Selection:
        summary = await history.summary(self.recipe, first_turn)
        told = summary.through_turn if summary else 0
        left = max(0, room.now - (summary.tokens if summary else 0))
        fitting = await first_turn_by_tokens(history, high_water=left, low_water=left, room=left)
        turns = await newest_turns(
            history, max(told, fitting), reason="not summarised yet", left_out_reason="summarised"
        )
        return await with_summary(history, turns, summary, room.now)
