"""`perdure bench windows`: how many tokens a chat's turns compute under each strategy. Nothing is timed.

A turn computes what no earlier prompt or reply of the chat began with, and its reply. Beside each strategy
stands the same one as LangChain builds its prompt, against the same cache.
"""

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING

from evals.bench.plan import Turns
from evals.bench.prefixes import PrefixCache
from evals.bench.report import Goal, Round, Row, Section
from evals.bench.runners import OURS
from evals.bench.script import Script
from evals.bench.served import AnewSummariser, ServedChat, ServedTurn
from llm.progress import Progress
from llm.text.chat_format import ChatEncoding
from memory.assembly import Limits
from memory.messages import Message
from memory.strategies.base import Strategy
from memory.strategies.buffer import Buffer
from memory.strategies.combined import Combined
from memory.strategies.facts import Facts
from memory.strategies.recalling import recalling
from memory.strategies.remembering import remembering
from memory.strategies.sliding_window import SlidingWindow
from memory.strategies.summarising import summarising
from memory.strategies.summary import RunningSummary
from memory.strategies.summary_buffer import SummaryBuffer
from memory.strategies.token_buffer import TokenBuffer
from memory.strategies.vector import Vector
from memory.summaries.summariser import Summariser

if TYPE_CHECKING:
    from evals.peers.memory import PeerMemory

OVER_BOUND = 1.1
COMPUTED = "computed / "
REPLY_TOKENS = 256
PEER_PACKAGES = ("langchain_classic", "langchain_core")
WITHOUT_LANGCHAIN = "LangChain: not installed (pip install 'perdure[peers]')"


@dataclass(frozen=True, slots=True)
class WindowSizes:
    """Turns and tokens. `late_replies`: after how many replies a slow upkeep comes, in the row for it."""

    turns: int = 200
    turn_tokens: int = 75
    window_turns: int = 10
    token_budget: int = 1000
    summary_tokens: int = 256
    fact_tokens: int = 256
    recall_tokens: int = 512
    late_replies: int = 6

    @property
    def context_window(self) -> int:
        """Wide enough that no strategy is held back by it, not even `buffer`."""
        return 4 * self.turns * self.turn_tokens + 4 * self.token_budget + 4 * REPLY_TOKENS

    @property
    def combined(self) -> Combined:
        """With as many tokens of facts, of summary, of what is recalled and of turns as the others have."""
        parts = (self.fact_tokens, self.summary_tokens, self.recall_tokens, self.token_budget)
        whole = sum(parts)
        facts, summary, recalled, recent = (part / whole for part in parts)
        return Combined(
            token_budget=whole,
            summary_share=summary,
            recalled_share=recalled,
            recent_share=recent,
            facts_share=facts,
        )

    @property
    def strategies(self) -> list[Strategy]:
        return [
            SlidingWindow(turns=self.window_turns),
            TokenBuffer(token_budget=self.token_budget),
            SummaryBuffer(token_budget=self.token_budget, max_summary_tokens=self.summary_tokens),
            Facts(token_budget=self.token_budget, max_fact_tokens=self.fact_tokens),
            Vector(token_budget=self.token_budget, recall_tokens=self.recall_tokens),
            self.combined,
            RunningSummary(max_summary_tokens=self.summary_tokens),
            Buffer(),
        ]


class WindowBenchmark:
    """Plays the same chat under each strategy, ours and LangChain's, and counts."""

    def __init__(
        self,
        tokenizer: ChatEncoding,
        summariser: Summariser,
        script: Script,
        sizes: WindowSizes,
        *,
        with_peers: bool,
        progress: Progress,
    ) -> None:
        self._tokenizer = tokenizer
        self._summariser = summariser
        self._persona = script.persona
        self._sizes = sizes
        self._turns = script.turns(tokenizer, sizes.turns, sizes.turn_tokens)
        self._has_peers = with_peers and all(map(find_spec, PEER_PACKAGES))
        self._progress = progress
        self.notes = [f"left out: {WITHOUT_LANGCHAIN}"] if with_peers and not self._has_peers else []

    def run(self) -> list[Section]:
        strategies = self._sizes.strategies
        sections = []
        for number, strategy in enumerate(strategies):
            self._progress("windows", number, len(strategies))
            sections.append(self._section(strategy))
        self._progress("windows", len(strategies), len(strategies))
        return sections

    def _section(self, strategy: Strategy) -> Section:
        rows = [self._ours(OURS, strategy, self._summariser)]
        if summarising(strategy):
            anew = AnewSummariser(self._tokenizer)
            rows.append(self._ours(f"{OURS}, {anew.author}", strategy, anew))
        if isinstance(strategy, SummaryBuffer):
            late = self._sizes.late_replies
            name = f"{OURS}, upkeep every {late} replies"
            rows.append(self._ours(name, strategy, self._summariser, upkeep_every=late))
        goals = [goal for row in rows for goal in _goals(row)]
        rows += [_counted(name, played) for name, played in self._peers(strategy)]
        settings = strategy.model_dump(exclude={"strategy"})
        about = ", ".join(f"{name} {value}" for name, value in settings.items() if value is not None)
        return Section(strategy.strategy, about, rows, goals)

    def _ours(self, name: str, strategy: Strategy, summariser: Summariser, *, upkeep_every: int = 1) -> Row:
        limits = Limits(self._sizes.context_window, REPLY_TOKENS, REPLY_TOKENS)
        chat = ServedChat(
            self._tokenizer, self._persona, limits, strategy, summariser, upkeep_every=upkeep_every
        )
        played = asyncio.run(chat.play(self._turns))
        row = _counted(name, played)
        figures = row.figures | _waited_for(played)
        figures["cuts"] = sum(one.first_turn != next_.first_turn for one, next_ in pairwise(played))
        ratio = getattr(strategy, "retention_ratio", None)
        if ratio is not None:
            figures |= self._beside_bound(strategy, played, figures["computed a turn"], ratio)
        return Row(row.name, figures, row.rounds)

    def _beside_bound(
        self, strategy: Strategy, played: Sequence[ServedTurn], computed: float, ratio: float
    ) -> dict[str, float]:
        """What is computed, beside what the steps of the window cost, and what recall costs."""
        new = _mean_tokens(self._turns)
        bound, parts = new / (1 - ratio), "t/(1-r)"
        figures = {parts: bound}
        if recalling(strategy):
            recalled = statistics.mean(turn.recalled_tokens for turn in played)
            figures["recalled a turn"] = recalled
            bound, parts = bound + new + recalled, f"{parts} + last turn + recalled"
        return figures | {f"{COMPUTED}{parts}": computed / bound} | self._derived(strategy, played)

    @staticmethod
    def _derived(strategy: Strategy, played: Sequence[ServedTurn]) -> dict[str, float]:
        """Tokens a turn of all the summaries and all the blocks of facts that entered the window."""
        found = {}
        if summarising(strategy):
            found["summaries a turn"] = dict(turn.summary for turn in played if turn.summary)
        if remembering(strategy):
            found["facts a turn"] = dict(turn.facts for turn in played if turn.facts)
        return {name: sum(tokens.values()) / len(played) for name, tokens in found.items()}

    def _peers(self, strategy: Strategy) -> list[tuple[str, list[ServedTurn]]]:
        if not self._has_peers:
            return []
        from evals.bench.langchain_peer import stand_ins

        memories = stand_ins(strategy, self._tokenizer)
        return [(f"LangChain {name}", self._play(memory)) for name, memory in memories.items()]

    def _play(self, memory: "PeerMemory") -> list[ServedTurn]:
        encode = self._tokenizer.encode_message
        preamble = self._tokenizer.encode_preamble(self._persona)
        played = []
        for user, assistant in self._turns:
            said = [*memory.messages(user.content), ("user", user.content)]
            asked = sum((encode(role, content) for role, content in said), start=preamble)
            played.append(ServedTurn(asked + self._tokenizer.generation_prompt, asked + assistant.token_ids))
            memory.take_turn(user.content, assistant.content)
        return played


def _counted(name: str, played: Sequence[ServedTurn]) -> Row:
    cache = PrefixCache()
    rounds: list[Round] = []
    before: Sequence[int] = ()
    for turn in played:
        rounds.append(
            {
                "prompt": len(turn.prompt),
                "prefill": len(turn.prompt) - cache.held(turn.prompt),
                "computed": cache.add(turn.with_reply),
                "voided": turn.prompt[: len(before)] != before,
            }
        )
        before = turn.lasting
    figures = {
        "prompt, tokens": statistics.mean(turn["prompt"] for turn in rounds),
        "computed a turn": statistics.mean(turn["computed"] for turn in rounds),
        "of it prompt": statistics.mean(turn["prefill"] for turn in rounds),
        "turns voided": sum(turn["voided"] for turn in rounds),
    }
    return Row(name, figures, rounds)


def _waited_for(played: Sequence[ServedTurn]) -> dict[str, float]:
    """The same with time between the turns, in which what the coming prompts begin with is computed."""
    cache = PrefixCache()
    waited = computed = 0
    for turn in played:
        waited += len(turn.prompt) - cache.held(turn.prompt)
        computed += cache.add(turn.with_reply)
        computed += sum(cache.add(prefix) for prefix in turn.coming_prefixes)
    return {"with idle time: computed": computed / len(played), "of it waited for": waited / len(played)}


def _goals(row: Row) -> list[Goal]:
    goals = [
        Goal(f"{figure}, {row.name}", OVER_BOUND, row.figures[figure])
        for figure in row.figures
        if figure.startswith(COMPUTED)
    ]
    voided = Goal(f"turns voided, {row.name}", row.figures["cuts"], row.figures["turns voided"])
    return [*goals, voided]


def _mean_tokens(turns: Turns) -> float:
    return statistics.mean(_tokens(user) + _tokens(assistant) for user, assistant in turns)


def _tokens(message: Message) -> int:
    return len(message.token_ids)
