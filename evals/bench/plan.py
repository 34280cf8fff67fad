"""The prompts of a chat's turns under a memory strategy, made before anything is timed."""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

from evals.bench.script import NAME
from llm.text.chat_format import ChatEncoding
from memory.assembly import ChatState, Limits, NewMessage, assemble
from memory.facts.block import FactBlock
from memory.lookahead import coming_prefixes
from memory.messages import Message
from memory.persona import Persona, persona_segments
from memory.strategies.base import Strategy
from memory.summaries.summary import Summary

Turns = Sequence[tuple[Message, Message]]


@dataclass(frozen=True, slots=True)
class PlannedTurn:
    """A turn as token ids: its prompt; prompt and reply; then what the coming prompts begin with."""

    prompt: tuple[int, ...]
    with_reply: tuple[int, ...]
    coming_prefixes: list[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class ScriptHistory:
    """`memory.protocols.History` of the first turns of a script."""

    turns: Turns
    counts: Sequence[int]

    @classmethod
    def of(cls, turns: Turns) -> "ScriptHistory":
        lengths = (sum(len(message.token_ids) for message in turn) for turn in turns)
        return cls(turns, list(accumulate(lengths, initial=0)))

    @property
    def turn_count(self) -> int:
        return len(self.turns)

    @property
    def total_tokens(self) -> int:
        return self.counts[-1]

    async def tokens_before(self, turn: int) -> int:
        return self.counts[turn]

    async def first_turn_from(self, tokens: int) -> int:
        return min(bisect_left(self.counts, tokens), self.turn_count)

    async def messages(self, first_turn: int, end_turn: int | None = None) -> Sequence[Message]:
        return list(chain.from_iterable(self.turns[first_turn:end_turn]))

    async def summary(self, recipe: str, first_turn: int) -> Summary | None:  # noqa: ARG002
        """A script has none."""
        return None

    async def facts(self, first_turn: int, max_tokens: int) -> FactBlock:  # noqa: ARG002
        """Nor any facts."""
        return FactBlock((), (), 0, self.turn_count)


class Planner:
    """Assembles contexts as the service does, for one tokeniser, persona and context window."""

    def __init__(self, tokenizer: ChatEncoding, persona: str, limits: Limits) -> None:
        self._tokenizer = tokenizer
        self._persona = persona_segments(Persona(NAME, persona), tokenizer)
        self._limits = limits

    def plan(self, turns: Turns, strategy: Strategy, first: int) -> list[PlannedTurn]:
        """The turns from number `first` on; those before it have been said already."""
        return asyncio.run(self._plan(turns, strategy, first))

    async def _plan(self, turns: Turns, strategy: Strategy, first: int) -> list[PlannedTurn]:
        planned = []
        for number in range(first, len(turns)):
            user, assistant = turns[number]
            said = NewMessage(user.id, user.content, user.token_ids)
            context = await assemble(self._state(turns[:number], strategy), said)
            asked = context.token_ids[: context.tokens - len(self._tokenizer.generation_prompt)]
            coming = await coming_prefixes(self._state(turns[: number + 1], strategy))
            planned.append(PlannedTurn(context.token_ids, asked + assistant.token_ids, coming))
        return planned

    def _state(self, turns: Turns, strategy: Strategy) -> ChatState:
        return ChatState(
            persona=self._persona,
            strategy=strategy,
            history=ScriptHistory.of(turns),
            generation_prompt=self._tokenizer.generation_prompt,
            limits=self._limits,
        )
