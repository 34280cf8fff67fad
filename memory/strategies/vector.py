"""`vector`: the newest turns, and what recall finds for this message."""

from typing import ClassVar, Literal

from pydantic import Field

from memory.strategies.recalling import RecallingStrategy
from memory.strategies.token_window import TokenWindowStrategy


class Vector(TokenWindowStrategy, RecallingStrategy):
    """Keeps the newest turns word for word, and puts before each message what recall finds for it: in this
    chat's older turns and in earlier chats.

    Forgets nothing for good, but knows of what is older only what was found for this message, and not how
    it all went. For chats that come back to single things said long ago, here or in other chats.
    """

    about_older_turns: ClassVar[str] = ": here only if recalled"

    strategy: Literal["vector"] = "vector"
    recall_tokens: int = Field(
        512,
        ge=64,
        le=100_000,
        description="Tokens of what is recalled at most, beside the turns; never more than half of the "
        "room for both.",
    )

    @property
    def most_recalled_tokens(self) -> int:
        return self.recall_tokens
