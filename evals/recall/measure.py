"""What each strategy finds of the evidence: in the first turns, the first sessions, and token budgets."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evals.recall.locomo import Asked, Conversation
from evals.recall.searches import Search
from llm.progress import Progress, silent
from memory.context import Segment
from memory.protocols import ChatEncoder
from memory.recall.fill import fill
from memory.recall.passage import Passage
from memory.recall.ranking import Ranked

TURNS = (5, 10, 50)
SESSIONS = (5, 10)
BUDGETS = (256, 512, 1024, 2048, 4096)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one strategy found for one question: shares of evidence by the name of the figure, 0 to 1.

    `number`: of the question in its conversation, from 1.
    """

    conversation: str
    number: int
    strategy: str
    category: int
    figures: Mapping[str, float]
    took_ms: float


async def measure(
    conversation: Conversation,
    searches: Mapping[str, Search],
    encoder: ChatEncoder,
    progress: Progress = silent,
) -> list[Answer]:
    """The answers of every search to every question of a conversation."""
    answers = []
    for number, asked in enumerate(conversation.questions, 1):
        for strategy, search in searches.items():
            started = time.perf_counter()
            ranked = await search(asked.text)
            took_ms = 1000 * (time.perf_counter() - started)
            figures = _figures(asked, ranked, conversation, encoder)
            answers.append(Answer(conversation.name, number, strategy, asked.category, figures, took_ms))
        progress(f"asking {conversation.name}", number, len(conversation.questions))
    return answers


def _figures(
    asked: Asked, ranked: Sequence[Ranked], conversation: Conversation, encoder: ChatEncoder
) -> dict[str, float]:
    keys = [each.passage.key for each in ranked]
    sources = list(dict.fromkeys(key.source for key in keys))
    wanted = {key.source for key in asked.evidence}
    figures = {
        in_turns(top): len(asked.evidence.intersection(keys[:top])) / len(asked.evidence) for top in TURNS
    }
    for top in SESSIONS:
        figures[any_session(top)] = float(not wanted.isdisjoint(sources[:top]))
        figures[all_sessions(top)] = float(wanted.issubset(sources[:top]))
    evidence = [passage for passage in conversation.passages if passage.key in asked.evidence]
    for budget in BUDGETS:
        figures[in_tokens(budget)] = _shown(evidence, fill(ranked, budget, encoder, ()))
    return figures


def in_turns(top: int) -> str:
    """This and the following: names of figures."""
    return f"{top} turns"


def any_session(top: int) -> str:
    return f"any session in {top}"


def all_sessions(top: int) -> str:
    return f"all sessions in {top}"


def in_tokens(budget: int) -> str:
    return f"{budget} tokens"


def _shown(evidence: Sequence[Passage], segment: Segment | None) -> float:
    """The share of the evidence that stands in what the model reads, line by line."""
    if segment is None:
        return 0.0
    shown = set(_lines(segment.messages[0].content))
    return sum(shown.issuperset(_lines(f"{each.speaker}: {each.text}")) for each in evidence) / len(evidence)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n")]
