"""The plain twin of a stored history: a list of messages, counted anew for every question."""

from collections.abc import Sequence

from memory.messages import Message, Role, number_turns
from memory.protocols import ChatEncoder


class NaiveHistory:
    """`memory.protocols.History`, obviously right. Notes which turns were read.

    Messages of excluded turns have no token ids.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self.all = list(messages)
        self.read: list[int] = []

    @property
    def turn_count(self) -> int:
        return self.all[-1].turn + 1 if self.all else 0

    @property
    def total_tokens(self) -> int:
        return sum(len(message.token_ids) for message in self.all)

    async def tokens_before(self, turn: int) -> int:
        return sum(len(message.token_ids) for message in self.all if message.turn < turn)

    async def first_turn_from(self, tokens: int) -> int:
        for turn in range(self.turn_count):
            if await self.tokens_before(turn) >= tokens:
                return turn
        return self.turn_count

    async def messages(self, first_turn: int) -> Sequence[Message]:
        found = [message for message in self.all if message.turn >= first_turn and message.token_ids]
        self.read += [message.turn for message in found]
        return found

    def tokens_of(self, turn: int) -> int:
        return sum(len(message.token_ids) for message in self.all if message.turn == turn)

    def upto(self, turns: int) -> "NaiveHistory":
        """The history as it was after its first `turns` turns."""
        return NaiveHistory([message for message in self.all if message.turn < turns])


def history_of(said: Sequence[tuple[Role, str]], encoder: ChatEncoder) -> NaiveHistory:
    turns = number_turns([role for role, _ in said])
    return NaiveHistory(
        [
            Message(f"msg_{index}", turn, role, content, encoder.encode_message(role, content))
            for index, ((role, content), turn) in enumerate(zip(said, turns, strict=True))
        ]
    )
