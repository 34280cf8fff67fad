"""What strategies that recall have in common: where they search, and the room for what is found.

The search itself is made for each message before its context is assembled, by whoever has the indexes.
"""

from abc import ABC, abstractmethod
from typing import Literal

from pydantic import Field

from memory.strategies.base import Strategy

RecallScope = Literal["chat", "persona", "user"]
"""This chat's passages; those of its user with its persona, and this chat's own; all of its user."""


class RecallingStrategy(Strategy, ABC):
    """Puts before the message what was said before and matters for it."""

    scope: RecallScope = Field(
        "persona",
        description="What is searched. `chat`: what was said in this chat; `persona`: in all chats of its "
        "user with its persona; `user`: in all chats of its user. A chat of no named user searches itself.",
    )

    documents: bool = Field(
        False, description="Whether everybody's documents, and those of its user, are searched too."
    )

    @property
    @abstractmethod
    def most_recalled_tokens(self) -> int:
        """Tokens of what is recalled for a message, at most; 0: nothing is."""

    def recalled_tokens(self, room: int) -> int:
        """At most half of the room, however much is asked for: the other half is for the chat itself."""
        return min(self.most_recalled_tokens, room // 2)


def recalling(strategy: Strategy) -> RecallingStrategy | None:
    """The strategy if it recalls."""
    return strategy if isinstance(strategy, RecallingStrategy) and strategy.most_recalled_tokens else None
