"""What the memory layer needs of others: of the model its tokens, of storage the turns of one chat."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from memory.facts.block import FactBlock
from memory.messages import Message, Role
from memory.summaries.summary import Summary

Write = Callable[[str, str, int], Awaitable[str]]
"""A model's answer to a user's message under a system message, of at most so many tokens.

Raises NotWrittenError if the model does not finish it.
"""


class ChatEncoder(Protocol):
    """Gives the token ids that the model gets, chat template included.

    The ids of a conversation are the concatenation of its parts: preamble, messages, generation prompt.
    So what begins with the same messages begins with the same ids.
    """

    def encode_preamble(self, system: str | None) -> tuple[int, ...]:
        """What stands before the first turn; None: what the template puts there by itself."""

    def encode_message(self, role: Role, content: str) -> tuple[int, ...]: ...

    @property
    def generation_prompt(self) -> tuple[int, ...]:
        """What tells the model to reply; it begins every reply."""


class TurnCounts(Protocol):
    """How many turns a chat session has, numbered from 0 without gaps, and how many tokens."""

    @property
    def turn_count(self) -> int: ...

    @property
    def total_tokens(self) -> int:
        """Tokens of all turns, chat template included."""

    async def tokens_before(self, turn: int) -> int:
        """Tokens of all turns before `turn`; `total_tokens` for `turn_count`."""

    async def first_turn_from(self, tokens: int) -> int:
        """The first turn with `tokens_before(turn) >= tokens`; `turn_count` if there is none."""


class History(TurnCounts, Protocol):
    """The stored turns of one chat session, as one consistent snapshot.

    Every question is answered from stored counts; only `messages` reads what was said.
    """

    async def messages(self, first_turn: int, end_turn: int | None = None) -> Sequence[Message]:
        """All messages from that turn on, up to but not of `end_turn`, oldest first.

        None of excluded turns, which count no tokens.
        """

    async def summary(self, recipe: str, first_turn: int) -> Summary | None:
        """The newest summary of that recipe that belongs to a window which begins with `first_turn`."""

    async def facts(self, first_turn: int, max_tokens: int) -> FactBlock:
        """The facts that belong to a window which begins with `first_turn`, as many as fit `max_tokens`."""
