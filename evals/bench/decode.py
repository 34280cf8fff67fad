"""`perdure bench decode`: one stream alone, tokens a second at several lengths of context; and prefill."""

import statistics
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from evals.bench.ours import OurEngine
from evals.bench.peers import BF16, LLAMA, Peers
from evals.bench.report import Round, Row, Section, median_of_ratios, ratio_goal, rotated
from evals.bench.runners import OURS, DecodingChat, DecodingRunner
from evals.bench.script import Script
from llm.progress import Progress


@dataclass(frozen=True, slots=True)
class DecodeSizes:
    """Tokens, and how many rounds. `contexts`: lengths from which `tokens` tokens are generated."""

    rounds: int = 5
    tokens: int = 48
    contexts: tuple[int, ...] = (100, 1000, 4000)
    prefill: int = 1024


class DecodeBenchmark:
    """Generates greedily from the same chat text, our engine and peers one after another in each round."""

    def __init__(
        self, engine: OurEngine, peers: Peers, script: Script, sizes: DecodeSizes, progress: Progress
    ) -> None:
        self._runners: list[DecodingRunner] = [engine, *peers.decoding]
        self._sizes = sizes
        self._progress = progress
        longest = max(*sizes.contexts, sizes.prefill + sizes.rounds)
        self._text = script.tokens(engine.model.tokenizer, longest)

    def run(self) -> list[Section]:
        return [self._decode(), self._prefill()]

    def _decode(self) -> Section:
        rows = [row for context in self._sizes.contexts for row in self._decode_at(context)]
        shortest, longest = self._sizes.contexts[0], self._sizes.contexts[-1]
        goals = [
            ratio_goal(rows, row_name(OURS, context), row_name(LLAMA, context), "tokens/s", 1.1, "at least")
            for context in self._sizes.contexts
        ]
        slowdown = ratio_goal(
            rows, row_name(OURS, longest), row_name(OURS, shortest), "tokens/s", 0.6, "at least"
        )
        about = f"one stream, plain, {self._sizes.tokens} tokens"
        return Section("decode", about, rows, [*goals, slowdown])

    def _decode_at(self, context: int) -> list[Row]:
        prompt = self._text[:context]
        tokens, rounds = self._sizes.tokens, self._sizes.rounds
        stage = f"decode at {context:,} tokens"
        with ExitStack() as stack:
            seats = [
                Seat(runner.name, stack.enter_context(closing(runner.new_chat(context + tokens + 1))))
                for runner in self._runners
            ]
            for number in range(rounds + 1):
                self._progress(stage, number, rounds + 1)
                for seat in rotated(seats, number):
                    times = seat.chat.decode(prompt, tokens)
                    seat.rounds.append({"tokens/s": (len(times) - 1) / (times[-1] - times[0])})
            self._progress(stage, rounds + 1, rounds + 1)
        # The first round computes the context, and warms up.
        return rows_of_rates([(row_name(seat.name, context), seat.rounds[1:]) for seat in seats])

    def _prefill(self) -> Section:
        size, rounds = self._sizes.prefill, self._sizes.rounds
        stage = f"prefill of {size:,} tokens"
        measured: dict[str, list[Round]] = {runner.name: [] for runner in self._runners}
        for number in range(rounds + 1):
            self._progress(stage, number, rounds + 1)
            for runner in rotated(self._runners, number):
                with closing(runner.new_chat(size + 1)) as chat:
                    first = chat.first_token(self._text[number : number + size])
                rate = first.computed_tokens / first.seconds
                measured[runner.name].append({"tokens/s": rate, "computed": first.computed_tokens})
        self._progress(stage, rounds + 1, rounds + 1)
        rows = rows_of_rates([(name, taken[1:]) for name, taken in measured.items()])
        goals = [
            ratio_goal(rows, OURS, LLAMA, "tokens/s", 8.0, "at least"),
            ratio_goal(rows, OURS, BF16, "tokens/s", 1.0, "at least"),
        ]
        return Section("prefill", f"{size:,} new tokens, to the first token", rows, goals)


@dataclass(frozen=True, slots=True)
class Seat:
    """A chat that takes part, and its rounds so far."""

    name: str
    chat: DecodingChat
    rounds: list[Round] = field(default_factory=list)


def row_name(runner: str, context: int) -> str:
    return f"{runner} at {context:,}"


def rows_of_rates(measured: Sequence[tuple[str, list[Round]]]) -> list[Row]:
    """A row for each, ours first, with the median of its tokens a second and that of the ratios to ours."""
    ours = measured[0][1]
    return [
        Row(
            name,
            {
                "tokens/s": statistics.median(taken["tokens/s"] for taken in rounds),
                "ours / it": median_of_ratios(ours, rounds, "tokens/s"),
            },
            rounds,
        )
        for name, rounds in measured
    ]
