"""`perdure bench restore`: the first token of a chat after a restart, from the disk or computed again."""

import statistics
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.models.chat import ChatModel
from app.settings import Settings
from evals.bench.ours import OurChat, our_engine
from evals.bench.peers import Peers
from evals.bench.report import Round, Row, Section, median_of_ratios, ratio_goal, rotated
from evals.bench.runners import OURS, Runner
from evals.bench.script import Script
from llm.progress import Progress

FROM_DISK = f"{OURS}, from the disk"
AGAIN = f"{OURS}, computed again"
DISK_MB = 2048

Measure = Callable[[], Round]


@dataclass(frozen=True, slots=True)
class RestoreSizes:
    """`tokens` of the chat before the restart, `new_tokens` of the turn after it."""

    rounds: int = 5
    tokens: int = 2000
    new_tokens: int = 24


class RestoreBenchmark:
    """Every round: a chat is computed and kept, the engine closed, and a new engine gets the next turn.

    Peers keep nothing over a restart by themselves: they compute the prompt again.
    """

    def __init__(
        self, settings: Settings, peers: Peers, script: Script, sizes: RestoreSizes, progress: Progress
    ) -> None:
        self._settings = settings
        self._peers = peers
        self._sizes = sizes
        self._progress = progress
        with our_engine(settings) as engine:
            self._text = script.tokens(engine.model.tokenizer, sizes.tokens + sizes.new_tokens)

    def run(self) -> list[Section]:
        measures: dict[str, Measure] = {FROM_DISK: self._from_disk, AGAIN: self._again}
        measures |= {peer.name: partial(self._of_peer, peer) for peer in self._peers.all}
        rounds: dict[str, list[Round]] = {name: [] for name in measures}
        stage, count = "restarts", self._sizes.rounds
        for number in range(count):
            self._progress(stage, number, count)
            for name in rotated(list(measures), number):
                rounds[name].append(measures[name]())
        self._progress(stage, count, count)
        rows = [_row(name, taken, rounds[FROM_DISK]) for name, taken in rounds.items()]
        about = f"a chat of {self._sizes.tokens:,} tokens, and {self._sizes.new_tokens} new ones"
        return [Section("restore", about, rows, [ratio_goal(rows, FROM_DISK, AGAIN, "ms", 1 / 4)])]

    def _from_disk(self) -> Round:
        with tempfile.TemporaryDirectory(prefix="perdure-bench-") as home:
            settings = self._settings.model_copy(
                update={
                    "home": Path(home),
                    "models": self._settings.models_folder,
                    "kv_disk_mb": DISK_MB,
                }
            )
            with our_engine(settings) as engine:
                _chat(engine.model).first_token(self._text[: self._sizes.tokens])
            with our_engine(settings) as engine:
                stored = engine.model.engine.stats.kv_disk_bytes
                return self._first_token(engine.model) | {"on disk, MB": stored / 1e6}

    def _again(self) -> Round:
        with our_engine(self._settings) as engine:
            return self._first_token(engine.model)

    def _first_token(self, model: ChatModel) -> dict[str, float]:
        first = _chat(model).first_token(self._text)
        return {"ms": 1000 * first.seconds, "computed": first.computed_tokens}

    def _of_peer(self, peer: Runner) -> Round:
        with closing(peer.new_chat(len(self._text) + 1)) as chat:
            first = chat.first_token(self._text)
        return {"ms": 1000 * first.seconds, "computed": first.computed_tokens}


def _chat(model: ChatModel) -> OurChat:
    """The chat, under the name by which it is found again."""
    return OurChat(model, "restored chat")


def _row(name: str, rounds: list[Round], from_disk: list[Round]) -> Row:
    figures = {
        "first token, ms": statistics.median(taken["ms"] for taken in rounds),
        "tokens computed": statistics.median(taken["computed"] for taken in rounds),
        "from the disk / it": median_of_ratios(from_disk, rounds, "ms"),
    }
    if "on disk, MB" in rounds[0]:
        figures["on disk, MB"] = statistics.median(taken["on disk, MB"] for taken in rounds)
    return Row(name, figures, rounds)
