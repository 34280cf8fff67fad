"""`perdure bench choose`: how long it takes to choose a context, by the length of the chat behind it.

Ours is a session in a real database, read as the service reads it; what recall finds is given. LangChain and
LlamaIndex choose from the same history.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from itertools import chain, cycle, islice
from pathlib import Path

from app.storage.database import Database, migrate
from evals.bench.report import Goal, Round, Row, Section, median_of_ratios, percentile, rotated
from evals.bench.runners import OURS
from evals.bench.script import Script
from evals.bench.stored import NothingReady, StoredChat
from llm.progress import Progress
from llm.text.chat_format import ChatTokenizer
from memory.messages import Message
from memory.strategies.base import Strategy
from memory.strategies.combined import Combined
from memory.strategies.facts import Facts
from memory.strategies.remembering import remembering
from memory.strategies.sliding_window import SlidingWindow
from memory.strategies.summarising import summarising
from memory.strategies.summary import RunningSummary
from memory.strategies.summary_buffer import SummaryBuffer
from memory.strategies.token_buffer import TokenBuffer
from memory.strategies.vector import Vector

GROWTH = 1.5
MOST_MS = 10.0
MESSAGES_A_FACT = 5
"""One in so many messages tells a fact."""
SUMMARISED_TURNS = 10
"""A summary is stored for every so many turns, as a chat of that length would have them."""
DIFFERENT_TURNS = 500
"""After so many turns the text is said again: encoding more of it would take longer than the benchmark."""

UNREAD = "its facts not read before"
"""The worst case: the window has just moved, and upkeep had no time before."""

LANGCHAIN = "LangChain trim_messages"
LLAMA_INDEX = "LlamaIndex Memory"
LLAMA_INDEX_MOST = 10_000
"""Messages that LlamaIndex is given at most: more take it minutes to put."""


@dataclass(frozen=True, slots=True)
class ChooseSizes:
    """`messages`: how long the chats are, ascending; the goals compare the first and the last."""

    rounds: int = 30
    messages: tuple[int, ...] = (1_000, 10_000, 100_000)
    turn_tokens: int = 75
    window_turns: int = 10
    token_budget: int = 1000
    fact_tokens: int = 256

    @property
    def strategies(self) -> list[Strategy]:
        return [
            SlidingWindow(turns=self.window_turns),
            TokenBuffer(token_budget=self.token_budget),
            SummaryBuffer(token_budget=self.token_budget),
            RunningSummary(),
            Facts(token_budget=self.token_budget, max_fact_tokens=self.fact_tokens),
            Vector(token_budget=self.token_budget),
            Combined(token_budget=self.token_budget),
        ]


@dataclass(frozen=True, slots=True)
class Seat:
    """One who chooses from one chat, and the times that took."""

    who: str
    messages: int
    choose: Callable[[], Awaitable[object]]
    has_goals: bool = False
    rounds: list[Round] = field(default_factory=list)


class ChooseBenchmark:
    """Everybody chooses once in each round, in an order that rotates."""

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        script: Script,
        sizes: ChooseSizes,
        *,
        with_peers: bool,
        progress: Progress,
    ) -> None:
        self._tokenizer = tokenizer
        self._persona = script.persona
        turns = script.turns(tokenizer, DIFFERENT_TURNS, sizes.turn_tokens)
        self._said = list(chain.from_iterable(turns))
        self._sizes = sizes
        self._with_peers = with_peers
        self._progress = progress
        self.notes: list[str] = []

    def run(self) -> list[Section]:
        with tempfile.TemporaryDirectory(prefix="perdure-bench-") as folder:
            seats = asyncio.run(self._measured(Path(folder) / "chat.sqlite3"))
        return [self._section(seats)]

    async def _measured(self, path: Path) -> list[Seat]:
        sizes = self._sizes
        migrate(path)
        database = Database(path)
        try:
            seats: list[Seat] = []
            for number, count in enumerate(sizes.messages):
                self._progress("storing the chats", number, len(sizes.messages))
                messages = list(islice(cycle(self._said), count))
                seats += await self._ours(database, messages)
                seats += await self._peers(messages)
            for number in range(sizes.rounds + 1):
                self._progress("choosing", number, sizes.rounds + 1)
                for seat in rotated(seats, number):
                    began = time.perf_counter()
                    await seat.choose()
                    seat.rounds.append({"ms": 1000 * (time.perf_counter() - began)})
            self._progress("choosing", sizes.rounds + 1, sizes.rounds + 1)
        finally:
            await database.close()
        return seats

    async def _ours(self, database: Database, messages: Sequence[Message]) -> list[Seat]:
        chat = await StoredChat.create(database, self._tokenizer, self._persona)
        await chat.store(messages)
        strategies = self._sizes.strategies
        text = " ".join(message.content for message in messages[:8])
        recipes = {each.recipe for each in map(summarising, strategies) if each}
        for recipe in recipes:
            await chat.summarise(text, recipe, turns=len(messages) // 2, every=SUMMARISED_TURNS)
        await chat.tell(MESSAGES_A_FACT)
        remember = [each for each in map(remembering, strategies) if each]
        # Of windows that begin with the same turn one block is kept: at last the one that serves all.
        for each in sorted(remember, key=lambda each: each.fact_tokens):
            await chat.keep_facts(each)
        message, count = self._said[0], len(messages)
        seats = [
            Seat(f"{OURS} {each.strategy}", count, partial(chat.choose, each, message), has_goals=True)
            for each in strategies
        ]
        return seats + [
            Seat(
                f"{OURS} {each.strategy}, {UNREAD}", count, partial(chat.choose, each, message, NothingReady)
            )
            for each in remember
        ]

    async def _peers(self, messages: Sequence[Message]) -> list[Seat]:
        if not self._with_peers:
            return []
        budget, count = self._sizes.token_budget, len(messages)
        seats = []
        if find_spec("langchain_core") is None:
            self._note(f"left out: {LANGCHAIN}: not installed (pip install 'perdure[peers]')")
        else:
            from evals.bench.trim_peer import trim_chooser

            seats.append(Seat(LANGCHAIN, count, trim_chooser(messages, budget)))
        if find_spec("llama_index") is None:
            self._note(f"left out: {LLAMA_INDEX}: not installed (pip install 'perdure[peers]')")
        elif count > LLAMA_INDEX_MOST:
            self._note(
                f"left out: {LLAMA_INDEX} at {count:,} messages: more than {LLAMA_INDEX_MOST:,} take it "
                "minutes to put"
            )
        else:
            from evals.bench.llama_index_peer import llama_index_chooser

            seats.append(Seat(LLAMA_INDEX, count, await llama_index_chooser(messages, budget)))
        return seats

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _section(self, seats: Sequence[Seat]) -> Section:
        # A first round warms up. All chats of one who takes part follow each other in the table.
        by_who: dict[str, list[Seat]] = {}
        for seat in seats:
            by_who.setdefault(seat.who, []).append(seat)
        rows = [_row(seat, of_one[0]) for of_one in by_who.values() for seat in of_one]
        goals = [goal for of_one in by_who.values() if of_one[0].has_goals for goal in _goals(of_one)]
        about = f"windows of {self._sizes.window_turns} turns, or of {self._sizes.token_budget:,} tokens"
        return Section("choosing a context", about, rows, goals)


def _name(seat: Seat) -> str:
    return f"{seat.who}, {seat.messages:,} messages"


def _row(seat: Seat, shortest: Seat) -> Row:
    rounds = seat.rounds[1:]
    times = [each["ms"] for each in rounds]
    figures = {"p50, ms": statistics.median(times), "p95, ms": percentile(times, 0.95)}
    if seat is not shortest:
        figures[f"/ {shortest.messages:,} messages"] = _growth(seat, shortest)
    return Row(_name(seat), figures, rounds)


def _growth(seat: Seat, shortest: Seat) -> float:
    return median_of_ratios(seat.rounds[1:], shortest.rounds[1:], "ms")


def _goals(of_one: Sequence[Seat]) -> list[Goal]:
    shortest, longest = of_one[0], of_one[-1]
    grown = f"{_name(longest)} / {shortest.messages:,}"
    return [
        Goal(f"ms, {grown}", GROWTH, _growth(longest, shortest) if longest is not shortest else None),
        Goal(f"p50, ms, {_name(longest)}", MOST_MS, _row(longest, shortest).figures["p50, ms"]),
    ]
