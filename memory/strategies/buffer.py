"""`buffer`: every turn, verbatim."""

from typing import ClassVar, Literal

from memory.errors import WindowFullError
from memory.protocols import History, TurnCounts
from memory.strategies.base import Room, Selection, Strategy, newest_turns


class Buffer(Strategy):
    """Keeps every turn word for word.

    Forgets nothing, until the chat no longer fits the context window: then a message is refused with the
    numbers, and the session wants another strategy. For short chats where every word counts.
    """

    evicts: ClassVar[bool] = False
    strategy: Literal["buffer"] = "buffer"

    async def first_turn(self, counts: TurnCounts, room: Room) -> int:
        if counts.total_tokens > room.now:
            raise WindowFullError(
                f"all {counts.turn_count} turns take {counts.total_tokens} tokens; beside the persona, the "
                f"message and its reply the context window of {room.context_window} tokens has room for "
                f"{max(0, room.now)}. Switch the session to a strategy that moves its window",
                history_tokens=counts.total_tokens,
                turns=counts.turn_count,
                room=room.now,
                context_window=room.context_window,
            )
        return 0

    async def window(self, history: History, first_turn: int, room: Room) -> Selection:  # noqa: ARG002
        return await newest_turns(history, first_turn, reason="buffer keeps every turn", left_out_reason="")
