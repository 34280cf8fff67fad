"""The plain twin of a stored history: a list of messages, counted anew for every question."""

from collections.abc import Sequence

from memory.facts.block import FactBlock, fact_block
from memory.facts.fact import Fact
from memory.facts.standing import standing
from memory.messages import Message, Role, number_turns
from memory.protocols import ChatEncoder
from memory.summaries.summary import Summary


class NaiveHistory:
    """`memory.protocols.History`, obviously right. Notes which turns were read.

    Messages of excluded turns have no token ids.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self.all = list(messages)
        self.summaries: list[tuple[int, Summary]] = []
        self.told: list[tuple[int, Fact]] = []
        self.encoder: ChatEncoder | None = None
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

    async def messages(self, first_turn: int, end_turn: int | None = None) -> Sequence[Message]:
        end = self.turn_count if end_turn is None else end_turn
        found = [message for message in self.all if first_turn <= message.turn < end and message.token_ids]
        self.read += [message.turn for message in found]
        return found

    async def summary(self, recipe: str, first_turn: int) -> Summary | None:  # noqa: ARG002
        """Of `summaries`: from which first turn on each is used, and itself."""
        used = [summary for enters_at, summary in self.summaries if enters_at <= first_turn]
        return max(used, key=lambda summary: summary.through_turn, default=None)

    async def facts(self, first_turn: int, max_tokens: int) -> FactBlock:
        """Of `told`, which is in the order in which it was said: from which first turn on each is used."""
        known = [fact for enters_at, fact in self.told if enters_at <= first_turn]
        return fact_block(standing(known).facts, self._encode, max_tokens, read_to=self.turn_count)

    def _encode(self, text: str) -> tuple[int, ...]:
        assert self.encoder is not None
        return self.encoder.encode_message("system", text)

    def tokens_of(self, turn: int) -> int:
        return sum(len(message.token_ids) for message in self.all if message.turn == turn)

    def upto(self, turns: int) -> "NaiveHistory":
        """The history as it was after its first `turns` turns."""
        history = NaiveHistory([message for message in self.all if message.turn < turns])
        history.summaries = self.summaries
        history.told = self.told
        history.encoder = self.encoder
        return history


def history_of(said: Sequence[tuple[Role, str]], encoder: ChatEncoder) -> NaiveHistory:
    turns = number_turns([role for role, _ in said])
    history = NaiveHistory(
        [
            Message(f"msg_{index}", turn, role, content, encoder.encode_message(role, content))
            for index, ((role, content), turn) in enumerate(zip(said, turns, strict=True))
        ]
    )
    history.encoder = encoder
    return history
