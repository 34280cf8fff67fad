"""A scripted chat as the service serves it: a context for each turn, and upkeep after each reply.

No model computes anything: the prompts are made, the summaries by a summariser without a model, and each of
some turns tells a fact.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial

from evals.bench.plan import ScriptHistory, Turns
from evals.bench.script import NAME
from llm.text.chat_format import ChatEncoding
from memory.assembly import ChatState, Limits, NewMessage, assemble
from memory.context import RecallReport
from memory.facts.block import FactBlock, fact_block
from memory.facts.fact import USER, Fact
from memory.lookahead import coming_prefixes
from memory.messages import Message
from memory.persona import Persona, persona_segments
from memory.recall.found import Found
from memory.recall.passage import Passage, PassageKey
from memory.recall.ranking import Ranked
from memory.recall.words import terms
from memory.strategies.base import Strategy
from memory.strategies.recalling import recalling
from memory.strategies.remembering import remembering
from memory.strategies.summarising import summarising
from memory.summaries.plan import enters_at, next_step
from memory.summaries.summariser import Names, Summariser, Task
from memory.summaries.summary import Summary, as_message

MOST_FOUND = 40
TURNS_A_FACT = 3
"""Often enough to fill what room there is for facts, and then to have the oldest make room for new ones."""
BEGAN, DAY = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ServedTurn:
    """A turn as token ids: its prompt, and prompt and reply; `first_turn`: where its window begins.

    `summary`, `facts`: the summary's id, or those of the facts, and their tokens, if any stood in it.
    `recalled_at`: where in the prompt what was recalled stands, if anything was, and `recalled_tokens` of it.
    `coming_prefixes`: what the coming prompts begin with, as it is known after the reply.
    """

    prompt: tuple[int, ...]
    with_reply: tuple[int, ...]
    first_turn: int = 0
    summary: tuple[str, int] | None = None
    facts: tuple[str, int] | None = None
    coming_prefixes: Sequence[tuple[int, ...]] = ()
    recalled_at: int | None = None
    recalled_tokens: int = 0

    @property
    def lasting(self) -> tuple[int, ...]:
        """What of it the next prompt begins with, unless the window moves."""
        return self.with_reply[: self.recalled_at]


@dataclass(frozen=True, slots=True)
class MadeSummary:
    summary: Summary
    enters_at: int


@dataclass(frozen=True, slots=True)
class KeptFact:
    fact: Fact
    turn: int
    enters_at: int


@dataclass(frozen=True, slots=True)
class DerivedHistory(ScriptHistory):
    """The first turns of a script, and what has been derived from them up to now."""

    encoder: ChatEncoding
    made: Sequence[MadeSummary]
    kept: Sequence[KeptFact]
    read_to: int

    async def summary(self, recipe: str, first_turn: int) -> Summary | None:  # noqa: ARG002
        fitting = (each.summary for each in self.made if each.enters_at <= first_turn)
        return max(fitting, key=lambda summary: summary.through_turn, default=None)

    async def facts(self, first_turn: int, max_tokens: int) -> FactBlock:
        known = [each.fact for each in self.kept if max(each.enters_at, each.turn + 1) <= first_turn]
        encode = partial(self.encoder.encode_message, "system")
        return fact_block(known, encode, max_tokens, read_to=self.read_to)


@lru_cache(maxsize=10_000)
def _terms(text: str) -> frozenset[str]:
    """Remembered: what was said is asked for its terms again in each later turn."""
    return frozenset(terms(text))


def _passage(message: Message, number: int) -> Passage:
    return Passage(
        PassageKey("script", number),
        message.content,
        speaker=Names(assistant=NAME).of(message.role),
        role=message.role,
        turn=message.turn,
        message_id=message.id,
    )


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
        self._kept: list[KeptFact] = []
        self._read_to = 0

    async def play(self, turns: Turns) -> list[ServedTurn]:
        whole = ScriptHistory.of(turns)
        return [await self._turn(whole, number) for number in range(len(turns))]

    async def _turn(self, whole: ScriptHistory, number: int) -> ServedTurn:
        user, assistant = whole.turns[number]
        said = NewMessage(user.id, user.content, user.token_ids)
        chat = replace(self._state(whole, number), recalled=self._found(whole, number))
        context = await assemble(chat, said)
        first_turn = min(context.turns, default=number)
        asked = context.token_ids[: context.tokens - len(self._tokenizer.generation_prompt)]
        if (number + 1) % self._upkeep_every == 0:
            await self._summarise(whole, number + 1, first_turn)
            self._extract(whole, number + 1, first_turn)
        derived = {
            segment.kind: (segment.summary_id or " ".join(segment.fact_ids), segment.tokens)
            for segment in context.segments
            if segment.kind in {"summary", "facts"}
        }
        kinds = [segment.kind for segment in context.segments]
        before = kinds.index("recalled") if "recalled" in kinds else None
        return ServedTurn(
            context.token_ids,
            asked + assistant.token_ids,
            first_turn,
            derived.get("summary"),
            derived.get("facts"),
            await coming_prefixes(self._state(whole, number + 1)),
            None if before is None else sum(segment.tokens for segment in context.segments[:before]),
            0 if before is None else context.segments[before].tokens,
        )

    def _found(self, whole: ScriptHistory, number: int) -> Found | None:
        """What a search by words alone finds for a turn's message in the turns before it."""
        recalls = recalling(self._strategy)
        if recalls is None:
            return None
        said = [message for turn in whole.turns[:number] for message in turn]
        asked = _terms(whole.turns[number][0].content)
        shared = {place: len(asked & _terms(message.content)) for place, message in enumerate(said)}
        best = sorted((place for place in shared if shared[place]), key=lambda place: (-shared[place], place))
        ranked = [
            Ranked(_passage(said[place], place), shared[place], "same words") for place in best[:MOST_FOUND]
        ]
        return Found(ranked, self._tokenizer, RecallReport(recalls.scope))

    def _extract(self, whole: ScriptHistory, count: int, used: int) -> None:
        """Keep what is told by turns that are not read yet: their user's first sentence, as a fact."""
        if remembering(self._strategy) is None:
            return
        for turn in range(self._read_to, count):
            user, _ = whole.turns[turn]
            if turn % TURNS_A_FACT == 0:
                said = user.content.partition(".")[0]
                fact = Fact(
                    f"fact-{turn}", USER, "told", said, f"{USER}, told: {said}", "script", BEGAN + turn * DAY
                )
                self._kept.append(KeptFact(fact, turn, enters_at(turn + 1, used)))
        self._read_to = count

    async def _summarise(self, whole: ScriptHistory, count: int, used: int) -> None:
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
            history=DerivedHistory(
                whole.turns[:count],
                whole.counts[: count + 1],
                self._tokenizer,
                tuple(self._made),
                tuple(self._kept),
                self._read_to,
            ),
            generation_prompt=self._tokenizer.generation_prompt,
            limits=self._limits,
        )
