"""The extractive summariser: the sentences that tell most, word for word, each with who said it.

Sentences are chosen one by one by maximal marginal relevance (Carbonell and Goldstein 1998,
doi:10.1145/290941.291025): what tells much and is not said yet. Nothing is invented.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memory.messages import Message
from memory.recall.cues import MONTHS, WEEKDAYS
from memory.summaries.summariser import CountTokens, Embed, Names, Task

LONGEST = 300
"""Characters of a sentence: a longer one is cut at a word."""
MOST_CANDIDATES = 400
MOST_TOO_LONG = 8
"""Sentences that do not fit any more, after which the rest is not tried."""
DIVERSITY = 0.7
"""How much being like what is chosen already counts against a sentence, beside what it tells."""
TYPICALITY = 0.3
"""How much being typical of the whole counts, beside names, numbers and statements about oneself."""

QUESTION_MARKS = ("?", "？")

_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])[\"'”’)]*\s+|(?<=[。！？])")
_NUMBER = re.compile(r"\d")
_DATES = [*WEEKDAYS, *(month for month in MONTHS if month not in ("april", "may", "june", "august"))]
"""Days and months that nobody is called by."""
_NAME = re.compile(rf"(?<=[^.!?…\s]\s)(?!(?:I['’]\w+|(?i:{'|'.join(_DATES)})s?)\b)[A-Z][\w'’-]+")
"""A word with a capital inside a sentence, but for days and months: what was on a Sunday is not a name."""
_ABOUT_ONESELF = re.compile(
    r"\b(i|i'm|i've|my|me|mine|we|our|call me)\b|(나는|난|내|제|저는|우리)", re.IGNORECASE
)
_WORD = re.compile(r"\w+")

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Candidate:
    line: str
    is_question: bool
    told_by_user: bool


class ExtractiveSummariser:
    """Needs no language model. `embed` is of a sentence-embedding model."""

    author = "extractive"

    def __init__(self, embed: Embed, count_tokens: CountTokens) -> None:
        self._embed = embed
        self._count_tokens = count_tokens

    async def summarise(self, task: Task) -> str:
        return await asyncio.to_thread(self._summarise, task)

    def _summarise(self, task: Task) -> str:
        candidates = _distinct([*_kept(task.previous, task.names), *_told(task.turns, task.names)])
        if not candidates:
            return ""
        lines = [candidate.line for candidate in candidates]
        vectors = np.asarray(self._embed(lines), dtype=np.float32)
        salience = np.array([_salience(each) for each in candidates], dtype=np.float32)
        worth = np.asarray(TYPICALITY * _typicality(vectors) + salience, dtype=np.float32)
        chosen: list[int] = []
        too_long = 0
        for index in _by_marginal_relevance(vectors, worth):
            longer = sorted([*chosen, index])
            if self._count_tokens("\n".join(lines[i] for i in longer)) <= task.max_tokens:
                chosen = longer
            elif (too_long := too_long + 1) == MOST_TOO_LONG:
                break
        return "\n".join(lines[index] for index in chosen)


def _kept(previous: str, names: Names) -> list[_Candidate]:
    """The lines of the summary so far stand for election again, beside the new sentences."""
    lines = [line.strip() for line in previous.splitlines()]
    return [
        _Candidate(line, line.endswith(QUESTION_MARKS), line.startswith(f"{names.user}:"))
        for line in lines
        if line
    ]


def _told(turns: Sequence[Message], names: Names) -> list[_Candidate]:
    return [
        _Candidate(
            f"{names.of(message.role)}: {sentence}", sentence.endswith(QUESTION_MARKS), message.role == "user"
        )
        for message in turns
        for sentence in sentences(message.content)
    ]


def sentences(text: str) -> list[str]:
    """The sentences of a text, those without a word left out, long ones cut."""
    parts = (part.strip() for line in text.splitlines() for part in _SENTENCE_END.split(line) if part)
    return [_cut(part) for part in parts if _WORD.search(part)]


def _cut(sentence: str) -> str:
    if len(sentence) <= LONGEST:
        return sentence
    return sentence[:LONGEST].rsplit(" ", 1)[0] + " …"


def _distinct(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Each line once, in order; of very many the newest."""
    return list({candidate.line.casefold(): candidate for candidate in candidates}.values())[
        -MOST_CANDIDATES:
    ]


def _typicality(vectors: Vectors) -> Vectors:
    """How typical each is of all, from 0 to 1."""
    likeness = vectors @ vectors.mean(axis=0)
    spread = float(np.ptp(likeness)) or 1.0
    return np.asarray((likeness - likeness.min()) / spread, dtype=np.float32)


def _salience(candidate: _Candidate) -> float:
    """Names, numbers and what users say of themselves are worth keeping, questions less: from -0.5 to 1."""
    text = candidate.line.split(": ", 1)[-1]
    signs = (
        0.35 * bool(_NUMBER.search(text)),
        0.35 * bool(_NAME.search(text)),
        0.3 * (candidate.told_by_user and bool(_ABOUT_ONESELF.search(text))),
    )
    return sum(signs) - 0.5 * candidate.is_question


def _by_marginal_relevance(vectors: Vectors, worth: Vectors) -> list[int]:
    """All candidates, the best choice beside those before it first."""
    likest = np.zeros(len(worth), dtype=np.float32)
    left = np.ones(len(worth), dtype=bool)
    order = []
    for _ in range(len(worth)):
        scores = np.where(left, worth - DIVERSITY * likest, -np.inf)
        best = int(scores.argmax())
        order.append(best)
        left[best] = False
        likest = np.maximum(likest, vectors @ vectors[best])
    return order
