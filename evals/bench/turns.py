"""`perdure bench turns`: how long until the first token of a chat's next turn.

The reply is fixed: after each first token its keys and values are computed untimed, as decoding it would
have. So a turn computes what is new in its prompt, and what its window's move makes new.
"""

import statistics
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from evals.bench.ours import OurEngine
from evals.bench.peers import BF16, CACHE_REUSE, LLAMA, SERVER, Peers
from evals.bench.plan import PlannedTurn, Planner, ScriptHistory
from evals.bench.report import (
    Goal,
    Round,
    Row,
    Section,
    median_of_ratios,
    percentile,
    ratio_goal,
    rotated,
)
from evals.bench.runners import OURS, Chat, Runner
from evals.bench.script import Script
from llm.progress import Progress
from memory.assembly import Limits
from memory.strategies.base import Strategy
from memory.strategies.buffer import Buffer
from memory.strategies.sliding_window import SlidingWindow
from memory.strategies.token_buffer import TokenBuffer

REPLY_TOKENS = 256
EXACT = "exact window"
STEPPED = "our window"
WHOLE = "whole chat"
SERVER_REUSE = f"{SERVER} --cache-reuse {CACHE_REUSE}"


@dataclass(frozen=True, slots=True)
class TurnSizes:
    """Turns and tokens. `turns`, `wide_turns`, `appended_turns` and `long_turns`: how many are measured of
    the four kinds of chat; 0 leaves one out. A turn of the script has at least `turn_tokens`."""

    turns: int = 30
    wide_turns: int = 6
    appended_turns: int = 10
    long_turns: int = 60
    idle_s: float = 2.0
    turn_tokens: int = 75
    window_turns: int = 10
    wide_tokens: int = 4000
    appended_tokens: int = 2500

    @property
    def script_turns(self) -> int:
        """Turns of the script that are enough for all four kinds of chat, one turn to warm up included."""
        longest = max(3 * self.wide_tokens // 2, self.appended_tokens)
        by_tokens = longest // self.turn_tokens + max(self.wide_turns, self.appended_turns)
        return 2 + max(by_tokens, 3 * self.window_turns + max(self.turns, self.long_turns))


class TurnBenchmark:
    """Plays the same chat to our engine and to all peers, turn by turn."""

    def __init__(
        self, engine: OurEngine, peers: Peers, script: Script, sizes: TurnSizes, progress: Progress
    ) -> None:
        self._engine = engine
        self._peers = peers
        self._sizes = sizes
        self._progress = progress
        model = engine.model
        limits = Limits(model.context_window, REPLY_TOKENS, REPLY_TOKENS)
        self._planner = Planner(model.tokenizer, script.persona, limits)
        self._turns = script.turns(model.tokenizer, sizes.script_turns, sizes.turn_tokens)

    def run(self) -> list[Section]:
        sizes = self._sizes
        kinds: list[tuple[int, Callable[[], Section]]] = [
            (sizes.turns, self._sliding_window),
            (sizes.wide_turns, self._wide_window),
            (sizes.appended_turns, self._appended),
            (sizes.long_turns, self._with_idle_time),
        ]
        return [measure() for turns, measure in kinds if turns]

    def _sliding_window(self) -> Section:
        turns = self._sizes.window_turns
        name = f"sliding window of {2 * turns} messages"
        policies: dict[str, Strategy] = {
            STEPPED: SlidingWindow(turns=turns),
            EXACT: SlidingWindow(turns=turns, retention_ratio=1.0),
        }
        rows = self._side_by_side(name, policies, first=3 * turns, count=self._sizes.turns)
        goals = [
            _goal(rows, BF16, EXACT, 1 / 4),
            _goal(rows, SERVER, EXACT, 1 / 30),
            _goal(rows, SERVER_REUSE, EXACT, 1 / 3),
            _goal(rows, SERVER, STEPPED, 1 / 2),
            _goal(rows, LLAMA, STEPPED, 1 / 2),
        ]
        return Section(name, "in steady state, no idle time: the cut is the user's wait", rows, goals)

    def _wide_window(self) -> Section:
        tokens = self._sizes.wide_tokens
        name = f"window of {tokens:,} tokens"
        policies: dict[str, Strategy] = {
            STEPPED: TokenBuffer(token_budget=tokens),
            EXACT: TokenBuffer(token_budget=tokens, retention_ratio=1.0),
        }
        first = self._turns_of(3 * tokens // 2)
        rows = self._side_by_side(name, policies, first=first, count=self._sizes.wide_turns)
        return Section(name, "the same, token_buffer", rows, [_goal(rows, BF16, EXACT, 1 / 10)])

    def _appended(self) -> Section:
        tokens = self._sizes.appended_tokens
        name = f"appended turn at {tokens:,} tokens"
        first = self._turns_of(tokens)
        rows = self._side_by_side(name, {WHOLE: Buffer()}, first=first, count=self._sizes.appended_turns)
        goals = [_goal(rows, peer, WHOLE, 1 / 3, ours=WHOLE) for peer in (LLAMA, SERVER)]
        return Section(name, "buffer: nothing leaves the window, for anybody", rows, goals)

    def _with_idle_time(self) -> Section:
        sizes = self._sizes
        name = f"{sizes.long_turns} turns with {sizes.idle_s:g} s between them"
        strategy = SlidingWindow(turns=sizes.window_turns)
        planned = self._plan(strategy, 3 * sizes.window_turns, sizes.long_turns)
        rounds = []
        with closing(self._engine.new_chat(self._engine.model.context_window)) as chat:
            for number, turn in enumerate(planned):
                self._progress(name, number, len(planned))
                rounds.append(_measure(chat, turn))
                chat.prepare(turn.coming_prefixes)
                time.sleep(sizes.idle_s)
        self._progress(name, len(planned), len(planned))
        row = _row(OURS, rounds[1:])
        worst = Goal("worst / median", 2.0, row.figures["max, ms"] / row.figures["p50, ms"])
        return Section(name, "the next window is computed in idle time", [row], [worst])

    def _side_by_side(self, name: str, policies: dict[str, Strategy], *, first: int, count: int) -> list[Row]:
        """Everybody under each policy. Our engine under the first one is who all are compared with."""
        plans = {policy: self._plan(strategy, first, count) for policy, strategy in policies.items()}
        runners: list[Runner] = [self._engine, *self._peers.all]
        with ExitStack() as stack:
            seats = [
                Seat(row_name(runner.name, policy), stack.enter_context(closing(_chat(runner, plan))), plan)
                for policy, plan in plans.items()
                for runner in runners
            ]
            for number in range(count + 1):
                self._progress(name, number, count + 1)
                for seat in rotated(seats, number):
                    seat.rounds.append(_measure(seat.chat, seat.plan[number]))
            self._progress(name, count + 1, count + 1)
        # The first turn computes all of the window: from the second on, the state is steady.
        ours_rounds = seats[0].rounds[1:]
        return [_row(seat.name, seat.rounds[1:], ours_rounds) for seat in seats]

    def _plan(self, strategy: Strategy, first: int, count: int) -> list[PlannedTurn]:
        """`count` turns and one before them, from turn number `first` on."""
        turns = self._turns[: first + count + 1]
        return self._planner.plan(turns, strategy, first)

    def _turns_of(self, tokens: int) -> int:
        """How many of the first turns take so many tokens."""
        return bisect_left(ScriptHistory.of(self._turns).counts, tokens)


@dataclass(frozen=True, slots=True)
class Seat:
    """A chat that takes part under one policy, and its rounds so far."""

    name: str
    chat: Chat
    plan: list[PlannedTurn]
    rounds: list[Round] = field(default_factory=list)


def row_name(runner: str, policy: str) -> str:
    return f"{runner}, {policy}"


def _chat(runner: Runner, plan: Sequence[PlannedTurn]) -> Chat:
    return runner.new_chat(max(len(turn.with_reply) for turn in plan) + 1)


def _measure(chat: Chat, turn: PlannedTurn) -> Round:
    first = chat.first_token(turn.prompt)
    chat.take_reply(turn.with_reply)
    return {"ms": 1000 * first.seconds, "computed": first.computed_tokens, "prompt": len(turn.prompt)}


def _row(name: str, rounds: list[Round], ours: list[Round] | None = None) -> Row:
    times = [turn["ms"] for turn in rounds]
    figures = {
        "p50, ms": percentile(times, 0.5),
        "p95, ms": percentile(times, 0.95),
        "max, ms": max(times),
        "tokens computed a turn": statistics.mean(turn["computed"] for turn in rounds),
        "prompt, tokens": statistics.median(turn["prompt"] for turn in rounds),
    }
    if ours is not None:
        figures["ours / it"] = median_of_ratios(ours, rounds, "ms")
    return Row(name, figures, rounds)


def _goal(rows: Sequence[Row], peer: str, policy: str, bound: float, ours: str = STEPPED) -> Goal:
    return ratio_goal(rows, row_name(OURS, ours), row_name(peer, policy), "ms", bound)
