"""What each strategy finds of the evidence: in the first turns, the first sessions, and token budgets.

`newest` takes the newest turns, `dense` and `lexical` one index alone, `fused` is what the service does.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from evals.recall.locomo import Asked, Conversation
from evals.recall.shelf import Shelves
from llm.progress import Progress, silent
from memory.context import Segment
from memory.protocols import ChatEncoder
from memory.recall.fill import fill
from memory.recall.passage import Passage
from memory.recall.protocols import Hit
from memory.recall.ranking import Ranked
from memory.recall.search import HITS, Question, Searcher

STRATEGIES = ("newest", "dense", "lexical", "fused")
TURNS = (5, 10, 50)
SESSIONS = (5, 10)
BUDGETS = (256, 512, 1024, 2048, 4096)
LIMIT = 1000
"""Passages that a search gives here: all that it ranks."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one strategy found for one question: shares of evidence by the name of the figure, 0 to 1."""

    strategy: str
    category: int
    figures: Mapping[str, float]
    took_ms: float


class CountingOnce:
    """A `ChatEncoder` that remembers what it encoded: the same turns are tried for many questions."""

    def __init__(self, encoder: ChatEncoder) -> None:
        self._encoder = encoder
        self.encode_message = lru_cache(maxsize=100_000)(encoder.encode_message)

    def encode_preamble(self, system: str | None) -> tuple[int, ...]:
        return self._encoder.encode_preamble(system)

    @property
    def generation_prompt(self) -> tuple[int, ...]:
        return self._encoder.generation_prompt


async def measure(
    conversation: Conversation, shelves: Shelves, encoder: ChatEncoder, progress: Progress = silent
) -> list[Answer]:
    """The answers of every strategy to every question of a conversation."""
    searcher = shelves.fill(conversation.name, conversation.passages, progress)
    runs = _Runs(conversation, shelves, searcher)
    answers = []
    for number, asked in enumerate(conversation.questions, 1):
        for strategy in STRATEGIES:
            started = time.perf_counter()
            ranked = await runs.run(strategy, asked.text)
            took_ms = 1000 * (time.perf_counter() - started)
            figures = _figures(asked, ranked, conversation, encoder)
            answers.append(Answer(strategy, asked.category, figures, took_ms))
        progress(f"asking {conversation.name}", number, len(conversation.questions))
    return answers


class _Runs:
    """The strategies, over one conversation."""

    def __init__(self, conversation: Conversation, shelves: Shelves, searcher: Searcher) -> None:
        self._conversation = conversation
        self._shelves = shelves
        self._searcher = searcher
        self._by_key = {passage.key: passage for passage in conversation.passages}

    async def run(self, strategy: str, text: str) -> Sequence[Ranked]:
        name = self._conversation.name
        if strategy == "newest":
            return [Ranked(passage, 0.0, "new") for passage in reversed(self._conversation.passages)]
        if strategy == "lexical":
            return self._ranked(self._shelves.lexical.search(name, text, HITS))
        if strategy == "dense":
            [vector] = self._shelves.embedder.embed([text])
            return self._ranked(self._shelves.dense.search(name, vector, HITS))
        return await self._searcher.search(Question(text, self._conversation.asked_at, (name,)), LIMIT)

    def _ranked(self, hits: Sequence[Hit]) -> list[Ranked]:
        return [Ranked(self._by_key[hit.key], hit.score, "found") for hit in hits]


def _figures(
    asked: Asked, ranked: Sequence[Ranked], conversation: Conversation, encoder: ChatEncoder
) -> dict[str, float]:
    keys = [each.passage.key for each in ranked]
    sources = list(dict.fromkeys(key.source for key in keys))
    wanted = {key.source for key in asked.evidence}
    figures = {
        f"{top} turns": len(asked.evidence.intersection(keys[:top])) / len(asked.evidence) for top in TURNS
    }
    for top in SESSIONS:
        figures[f"any session in {top}"] = float(not wanted.isdisjoint(sources[:top]))
        figures[f"all sessions in {top}"] = float(wanted.issubset(sources[:top]))
    evidence = [passage for passage in conversation.passages if passage.key in asked.evidence]
    for budget in BUDGETS:
        figures[f"{budget} tokens"] = _shown(evidence, fill(ranked, budget, encoder, ()))
    return figures


def _shown(evidence: Sequence[Passage], segment: Segment | None) -> float:
    """The share of the evidence that stands in what the model reads, line by line."""
    if segment is None:
        return 0.0
    shown = set(_lines(segment.messages[0].content))
    return sum(shown.issuperset(_lines(f"{each.speaker}: {each.text}")) for each in evidence) / len(evidence)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n")]
