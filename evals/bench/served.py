"""A scripted chat as the service serves it: a context for each turn, and upkeep after each reply.

No model computes anything: the prompts are made, and the summaries by a summariser without a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evals.bench.plan import ScriptHistory, Turns
from llm.text.chat_format import ChatEncoding
from memory.assembly import ChatState, Limits, NewMessage, assemble
from memory.lookahead import coming_prefixes
from memory.persona import Persona, persona_segments
from memory.strategies.base import Strategy
from memory.strategies.summarising import summarising
from memory.summaries.plan import enters_at, next_step
from memory.summaries.summariser import Names, Summariser, Task
from memory.summaries.summary import Summary, as_message

NAME = "Companion"


@dataclass(frozen=True, slots=True)
class ServedTurn:
    """A turn as token ids: its prompt, and prompt and reply; `first_turn`: where its window begins.

    `summary`: the summary's id and tokens, if one stood in it. `coming_prefixes`: what the coming prompts
    begin with, as it is known after the reply.
    """

    prompt: tuple[int, ...]
    with_reply: tuple[int, ...]
    first_turn: int = 0
    summary: tuple[str, int] | None = None
    coming_prefixes: Sequence[tuple[int, ...]] = ()


@dataclass(frozen=True, slots=True)
class MadeSummary:
    summary: Summary
    enters_at: int


@dataclass(frozen=True, slots=True)
class SummarisedHistory(ScriptHistory):
    """The first turns of a script, and the summaries made of them up to now."""

    made: Sequence[MadeSummary] = ()

    async def summary(self, recipe: str, first_turn: int) -> Summary | None:  # noqa: ARG002
        fitting = (each.summary for each in self.made if each.enters_at <= first_turn)
        return max(fitting, key=lambda summary: summary.through_turn, default=None)


class AnewSummariser:
    """Costs what a model's summaries cost: full length, each begun anew. Writes the newest that was said."""

    author = "written anew"

    def __init__(self, tokenizer: ChatEncoding) -> None:
        self._tokenizer = tokenizer

    async def summarise(self, task: Task) -> str:
        told = " ".join([task.previous, *(message.content for message in task.turns)])
        room = task.max_tokens - len(self._tokenizer.encode_message("system", as_message("")))
        return self._tokenizer.decode(self._tokenizer.encode_text(told)[-max(1, room) :])


class ServedChat:
    """One chat under one strategy, from its first turn on.

    `upkeep_every`: after how many replies upkeep comes to this chat; 1: after each, before the next message.
    """

    def __init__(
        self,
        tokenizer: ChatEncoding,
        persona: str,
        limits: Limits,
        strategy: Strategy,
        summariser: Summariser,
        *,
        upkeep_every: int = 1,
    ) -> None:
        self._tokenizer = tokenizer
        self._persona = persona_segments(Persona(NAME, persona), tokenizer)
        self._limits = limits
        self._strategy = strategy
        self._summariser = summariser
        self._upkeep_every = upkeep_every
        self._made: list[MadeSummary] = []

    async def play(self, turns: Turns) -> list[ServedTurn]:
        whole = ScriptHistory.of(turns)
        return [await self._turn(whole, number) for number in range(len(turns))]

    async def _turn(self, whole: ScriptHistory, number: int) -> ServedTurn:
        user, assistant = whole.turns[number]
        said = NewMessage(user.id, user.content, user.token_ids)
        context = await assemble(self._state(whole, number), said)
        first_turn = min(context.turns, default=number)
        asked = context.token_ids[: context.tokens - len(self._tokenizer.generation_prompt)]
        if (number + 1) % self._upkeep_every == 0:
            await self._upkeep(whole, number + 1, first_turn)
        summaries = [segment for segment in context.segments if segment.kind == "summary"]
        return ServedTurn(
            context.token_ids,
            asked + assistant.token_ids,
            first_turn,
            next(((segment.summary_id or "", segment.tokens) for segment in summaries), None),
            await coming_prefixes(self._state(whole, number + 1)),
        )

    async def _upkeep(self, whole: ScriptHistory, count: int, used: int) -> None:
        """Make all summaries that are wanting. `used`: the first turn of the newest reply's window."""
        strategy = summarising(self._strategy)
        if strategy is None:
            return
        chat = self._state(whole, count)
        while True:
            step = await next_step(
                strategy, chat.history, chat.room(), summarised_before=self._summarised_before
            )
            if step is None:
                return
            previous = self._newest_before(step.first_turn)
            messages = await chat.history.messages(step.first_turn, step.through_turn)
            task = Task(
                previous.text if previous else "",
                messages,
                Names(assistant=NAME),
                strategy.summary_tokens,
            )
            text = await self._summariser.summarise(task)
            summary = Summary(
                id=f"summary-{len(self._made)}",
                text=text,
                through_turn=step.through_turn,
                author=self._summariser.author,
                token_ids=self._tokenizer.encode_message("system", as_message(text)),
            )
            self._made.append(MadeSummary(summary, enters_at(step.through_turn, used)))

    async def _summarised_before(self, turn: int) -> int:
        newest = self._newest_before(turn)
        return newest.through_turn if newest else 0

    def _newest_before(self, turn: int) -> Summary | None:
        fitting = (each.summary for each in self._made if each.summary.through_turn <= turn)
        return max(fitting, key=lambda summary: summary.through_turn, default=None)

    def _state(self, whole: ScriptHistory, count: int) -> ChatState:
        return ChatState(
            persona=self._persona,
            strategy=self._strategy,
            history=SummarisedHistory(whole.turns[:count], whole.counts[: count + 1], tuple(self._made)),
            generation_prompt=self._tokenizer.generation_prompt,
            limits=self._limits,
        )
