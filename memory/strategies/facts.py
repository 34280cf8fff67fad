"""`facts`: what is known of the user and the persona, and the newest turns verbatim."""

from typing import Literal

from pydantic import Field

from memory.protocols import History, TurnCounts
from memory.strategies.base import Room, Selection, newest_turns
from memory.strategies.remembering import RememberingStrategy, with_facts
from memory.strategies.window import RETENTION_RATIO_DESCRIPTION, first_turn_by_tokens

DEFAULT_FACT_TOKENS = 256


class Facts(RememberingStrategy):
    """Keeps the newest turns word for word, and of all older ones what they tell of the user and the persona:
    dated facts, each from a quote; the newer takes the place of the older.

    Forgets everything older that is no such fact, and its wording. For companions and tutors that must know
    their user for months, across chats too, in a small window.
    """

    strategy: Literal["facts"] = "facts"
    token_budget: int = Field(1000, ge=64, le=10_000_000, description="Tokens of facts and turns at most.")
    max_fact_tokens: int = Field(
        DEFAULT_FACT_TOKENS, ge=32, le=100_000, description="Tokens of the facts at most."
    )
    retention_ratio: float = Field(0.7, ge=0.01, le=1.0, description=RETENTION_RATIO_DESCRIPTION)

    @property
    def fact_tokens(self) -> int:
        return self.max_fact_tokens

    async def first_turn(self, counts: TurnCounts, room: Room) -> int:
        return await first_turn_by_tokens(
            counts,
            high_water=self._high_water(room),
            retention_ratio=self.retention_ratio,
            room=max(0, room.now - self.max_fact_tokens),
        )

    async def window(self, history: History, first_turn: int, room: Room) -> Selection:
        held = history.turn_count - first_turn
        high_water = self._high_water(room)
        turns = await newest_turns(
            history,
            first_turn,
            reason=f"one of the newest {held} turns, within {high_water} tokens",
            left_out_reason=f"older than the newest {held} turns, which fill {high_water} tokens",
        )
        return await with_facts(
            history, self, first_turn, turns, min(self.max_fact_tokens, room.now - turns.tokens)
        )

    def _high_water(self, room: Room) -> int:
        """The facts' tokens are kept free for them from the start: so the window begins where it would with
        any facts."""
        return max(0, min(self.token_budget, room.steady) - self.max_fact_tokens)
