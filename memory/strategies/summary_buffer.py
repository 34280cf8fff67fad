"""`summary_buffer`: a summary of what has left the window, and the newest turns verbatim."""

from typing import Literal

from pydantic import Field

from memory.protocols import History
from memory.strategies.base import Room, Selection
from memory.strategies.summarising import BoundedSummaryStrategy, with_summary
from memory.strategies.token_window import TokenWindowStrategy


class SummaryBuffer(TokenWindowStrategy, BoundedSummaryStrategy):
    """Keeps the newest turns word for word, and a running summary of all older ones.

    Forgets the wording of what it summarises, and what a summary of its length cannot hold. For long chats
    whose thread must not be lost and whose window must stay small.
    """

    strategy: Literal["summary_buffer"] = "summary_buffer"
    token_budget: int = Field(1000, ge=64, le=10_000_000, description="Tokens of summary and turns at most.")

    @property
    def tokens_beside_turns(self) -> int:
        return self.summary_tokens

    async def window(self, history: History, first_turn: int, room: Room) -> Selection:
        turns = await super().window(history, first_turn, room)
        return await with_summary(history, turns, await history.summary(self.recipe, first_turn), room.now)
