"""`perdure bench batch`: streams together, a long prompt among them, and one persona of many chats."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import pairwise

from evals.bench.decode import rows_of_rates
from evals.bench.ours import OurChat, OurEngine, note_times
from evals.bench.peers import LLAMA, Peers
from evals.bench.report import Goal, Round, Row, Section, ratio_goal, rotated
from evals.bench.runners import OURS, DecodingRunner
from evals.bench.script import Script
from llm.engine.blocks import BLOCK_TOKENS
from llm.engine.interface import Preamble
from llm.progress import Progress

WARM_TOKENS = 8
"""Tokens of each stream before the long prompt arrives."""


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """Tokens, and how many rounds. `streams`: how many chats generate together, one number after another."""

    rounds: int = 3
    streams: tuple[int, ...] = (1, 8, 16)
    prompt: int = 100
    tokens: int = 48
    long_prompt: int = 2000
    persona_chats: int = 16
    persona: int = 1000


class BatchBenchmark:
    """Streams of equal lengths, of all; what a long prompt and a shared persona do, of our engine alone."""

    def __init__(
        self, engine: OurEngine, peers: Peers, script: Script, sizes: BatchSizes, progress: Progress
    ) -> None:
        self._engine = engine
        self._runners: list[DecodingRunner] = [engine, *peers.decoding]
        self._script = script
        self._sizes = sizes
        self._progress = progress
        longest = max(
            sizes.long_prompt + sizes.rounds, sizes.prompt * (1 + max(*sizes.streams, sizes.persona_chats))
        )
        self._text = script.tokens(engine.model.tokenizer, longest)

    def run(self) -> list[Section]:
        return [self._together(), self._beside_a_long_prompt(), self._one_persona()]

    def _together(self) -> Section:
        """Every number of streams in every round, so that ratios between the numbers are of one round too."""
        sizes = self._sizes
        measured: dict[tuple[int, str], list[Round]] = {
            (streams, runner.name): [] for streams in sizes.streams for runner in self._runners
        }
        stage = "streams together"
        for number in range(sizes.rounds + 1):
            self._progress(stage, number, sizes.rounds + 1)
            for streams in sizes.streams:
                prompts = self._prompts(streams)
                for runner in rotated(self._runners, number):
                    times = runner.decode_together(prompts, sizes.tokens)
                    measured[streams, runner.name].append({"tokens/s": rate_together(times)})
        self._progress(stage, sizes.rounds + 1, sizes.rounds + 1)
        rows = [
            row
            for streams in sizes.streams
            for row in rows_of_rates(
                [
                    (row_name(runner.name, streams), measured[streams, runner.name][1:])
                    for runner in self._runners
                ]
            )
        ]
        return Section("streams together", "tokens a second of all", rows, self._rate_goals(rows))

    def _rate_goals(self, rows: Sequence[Row]) -> list[Goal]:
        one, eight = row_name(OURS, 1), row_name(OURS, 8)
        return [
            ratio_goal(rows, eight, one, "tokens/s", 3.0, "at least"),
            ratio_goal(rows, eight, row_name(LLAMA, 8), "tokens/s", 1.4, "at least"),
        ]

    def _beside_a_long_prompt(self) -> Section:
        sizes = self._sizes
        rows = []
        for streams in sizes.streams:
            stage = f"a long prompt beside {streams}"
            rounds = []
            for number in range(sizes.rounds):
                self._progress(stage, number, sizes.rounds)
                rounds.append(asyncio.run(self._gaps(streams, number)))
            self._progress(stage, sizes.rounds, sizes.rounds)
            figures = {name: statistics.median(taken[name] for taken in rounds) for name in rounds[0]}
            rows.append(Row(row_name(OURS, streams), figures, rounds))
        about = f"time between two tokens of a stream while a prompt of {sizes.long_prompt:,} tokens arrives"
        return Section("beside a long prompt", about, rows)

    async def _gaps(self, streams: int, number: int) -> Round:
        """Start the streams, then the long prompt when they are under way; end them when it is computed."""
        sizes, engine = self._sizes, self._engine.model.engine
        # Enough to last until then: with more than 16 tokens of the long prompt to a step.
        tokens = WARM_TOKENS + sizes.long_prompt // 16
        times: list[list[float]] = [[] for _ in range(streams)]
        with ExitStack() as stack:
            chats = [stack.enter_context(closing(self._engine.new_chat(0))) for _ in range(streams + 1)]
            async with asyncio.TaskGroup() as group:
                generations = []
                for chat, prompt, noted in zip(chats[1:], self._prompts(streams), times, strict=True):
                    generations.append(engine.submit(chat.request(prompt, tokens)))
                    group.create_task(note_times(generations[-1], noted))
                while min(map(len, times)) < WARM_TOKENS:  # noqa: ASYNC110 - lists tell nobody
                    await asyncio.sleep(0.005)
                arrived = time.perf_counter()
                long_prompt = self._text[number : number + sizes.long_prompt]
                first: list[float] = []
                await note_times(engine.submit(chats[0].request(long_prompt, 1)), first)
                for generation in generations:
                    generation.cancel()
        return _gap_figures(times, arrived, first[0])

    def _one_persona(self) -> Section:
        persona = self._script.preamble(self._engine.model.tokenizer, self._sizes.persona)
        rows = [
            self._stored("one owner", persona, is_public=False),
            self._stored("an owner each", persona, is_public=True),
        ]
        chats = self._sizes.persona_chats
        # The block in which persona and message meet is each chat's own.
        bound = 1 + chats * BLOCK_TOKENS / len(persona)
        goals = [Goal(f"personas stored, {row.name}", bound, row.figures["personas stored"]) for row in rows]
        about = (
            f"{chats} chats of one persona of {len(persona):,} tokens, which is public where owners differ"
        )
        return Section("one persona", about, rows, goals)

    def _stored(self, name: str, persona: tuple[int, ...], *, is_public: bool) -> Row:
        """What the engine keeps of chats that begin with the same persona."""
        model, count = self._engine.model, self._sizes.persona_chats
        asks = model.tokenizer.generation_prompt
        prompts = [persona + message + asks for message in self._prompts(count)]
        before = model.engine.stats.kv_bytes
        preamble = Preamble(len(persona), len(persona) if is_public else 0)
        with ExitStack() as stack:
            stored = []
            for number, prompt in enumerate(prompts):
                owner = f"owner-{number if is_public else 0} of {name}"
                chat = stack.enter_context(closing(OurChat(model, f"{name}, {number}", owner)))
                computed = chat.first_token(prompt, preamble).computed_tokens
                stored.append({"computed": computed, "bytes": model.engine.stats.kv_bytes - before})
        token_bytes = stored[0]["bytes"] / len(prompts[0])
        own_tokens = sum(len(prompt) - len(persona) for prompt in prompts)
        figures = {
            "KV stored, MB": stored[-1]["bytes"] / 1e6,
            "KV if each had its own, MB": token_bytes * sum(map(len, prompts)) / 1e6,
            "personas stored": (stored[-1]["bytes"] / token_bytes - own_tokens) / len(persona),
            "tokens computed": sum(taken["computed"] for taken in stored),
        }
        return Row(name, figures, list(stored))

    def _prompts(self, count: int) -> list[tuple[int, ...]]:
        """Different pieces of the text, of one length."""
        size = self._sizes.prompt
        return [self._text[start : start + size] for start in range(size, size * (count + 1), size)]


def row_name(runner: str, streams: int) -> str:
    return f"{runner}, {streams} stream{'s' if streams > 1 else ''}"


def rate_together(times: Sequence[Sequence[float]]) -> float:
    """Tokens a second of all streams, after the first token of each, from the first start to the last end."""
    tokens = sum(len(stream) - 1 for stream in times)
    return tokens / (max(stream[-1] for stream in times) - min(stream[0] for stream in times))


def _gap_figures(times: Sequence[Sequence[float]], arrived: float, computed: float) -> Round:
    gaps = [(later, 1000 * (later - earlier)) for stream in times for earlier, later in pairwise(stream)]
    during = [gap for at, gap in gaps if arrived < at <= computed]
    return {
        "median gap before, ms": statistics.median(gap for at, gap in gaps if at <= arrived),
        "median gap, ms": statistics.median(during),
        "worst gap, ms": max(during),
        "long prompt's first token, ms": 1000 * (computed - arrived),
    }
