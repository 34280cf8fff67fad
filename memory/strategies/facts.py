"""`facts`: what is known of the user and the persona, and the newest turns verbatim."""

from typing import Literal

from pydantic import Field

from memory.protocols import History
from memory.strategies.base import Room, Selection
from memory.strategies.remembering import RememberingStrategy, with_facts
from memory.strategies.token_window import TokenWindowStrategy

DEFAULT_FACT_TOKENS = 256


class Facts(TokenWindowStrategy, RememberingStrategy):
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

    @property
    def fact_tokens(self) -> int:
        return self.max_fact_tokens

    @property
    def tokens_beside_turns(self) -> int:
        return self.fact_tokens

    async def window(self, history: History, first_turn: int, room: Room) -> Selection:
        turns = await super().window(history, first_turn, room)
        most = min(self.fact_tokens, room.now - turns.tokens)
        return await with_facts(history, self, first_turn, turns, most)
