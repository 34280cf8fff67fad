"""`token_buffer`: the newest turns within a token budget."""

from typing import Literal

from memory.strategies.token_window import TokenWindowStrategy


class TokenBuffer(TokenWindowStrategy):
    """Keeps as many whole newest turns as fit `token_budget` tokens, word for word.

    Forgets everything older. The budget is of stored turns alone: persona, message and reply come on top.
    For chats whose turns differ in length, and where the cost of a turn must stay bounded.
    """

    strategy: Literal["token_buffer"] = "token_buffer"
