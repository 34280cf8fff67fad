"""Features: what is known of each passage beside a question, as numbers that ranking weighs.

All are between 0 and about 1, none depends on how many passages a shelf has, and a passage that was said
twice gets the same ones.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray

from memory.recall.cues import cues, named, says_time
from memory.recall.passage import Passage, PassageKey
from memory.recall.protocols import Hit
from memory.recall.words import terms

FEATURES = (
    "words",
    "sense",
    "beside",
    "near",
    "answers",
    "covers",
    "episode",
    "speaker",
    "when",
    "period",
    "long",
    "asks",
)
LONG = 60
"""Words of a passage that is as long as counts."""


@dataclass(frozen=True, slots=True)
class Matches:
    """How well passages match a question by words and by sense, 1 being the best found; and by both."""

    words: Mapping[PassageKey, float]
    sense: Mapping[PassageKey, float]
    both: Mapping[PassageKey, float]


def matches(lexical: Sequence[Hit], dense: Sequence[Hit]) -> Matches:
    """The hits of both indexes on one scale. What an index did not find counts as its worst hit or less."""
    words, sense = _scaled(lexical, 0.0), _scaled(dense, min((hit.score for hit in dense), default=0.0))
    both = {key: 0.5 * words.get(key, 0.0) + 0.5 * sense.get(key, 0.0) for key in words | sense}
    return Matches(words, sense, both)


def features(
    question: str, asked_at: datetime, passages: Sequence[Passage], found: Matches
) -> NDArray[np.float64]:
    """One row for each passage, a column for each of FEATURES."""
    score = found.both
    by_key = {passage.key: passage for passage in passages}
    episodes = _episodes(passages, score)
    covered = _covered(question, passages)
    who = _Speaker(question, asked_at, passages)
    told = cues(question, asked_at)
    rows = []
    for passage in passages:
        key = passage.key
        before = by_key.get(key.neighbour(-1))
        rows.append(
            (
                found.words.get(key, 0.0),
                found.sense.get(key, 0.0),
                max(score.get(key.neighbour(distance), 0.0) for distance in (-1, 1)),
                max(score.get(key.neighbour(distance), 0.0) for distance in (-2, 2)),
                score.get(key.neighbour(-1), 0.0) if before and _asks(before.text) else 0.0,
                covered[key],
                episodes[_episode(passage)],
                who.is_meant(passage),
                1.0 if told.asks_when and says_time(passage.text) else 0.0,
                told.period.nearness(passage.said_at) if told.period and passage.said_at else 0.0,
                min(1.0, math.log1p(len(passage.text.split())) / math.log1p(LONG)),
                1.0 if _asks(passage.text) else 0.0,
            )
        )
    return np.array(rows, dtype=np.float64).reshape(len(passages), len(FEATURES))


class _Speaker:
    """Whose passages a question is about: of the one speaker that it names, or of "I" or "you"."""

    def __init__(self, question: str, asked_at: datetime, passages: Sequence[Passage]) -> None:
        names = named(question, {passage.speaker for passage in passages if passage.speaker})
        self._name = next(iter(names)) if len(names) == 1 else None
        self._role = None if names else cues(question, asked_at).speaks

    def is_meant(self, passage: Passage) -> float:
        by_name = self._name is not None and passage.speaker == self._name
        by_role = self._role is not None and passage.role == self._role
        return 1.0 if by_name or by_role else 0.0


def _scaled(hits: Sequence[Hit], low: float) -> dict[PassageKey, float]:
    high = max((hit.score for hit in hits), default=low)
    return {hit.key: (hit.score - low) / (high - low) if high > low else 1.0 for hit in hits}


def _episode(passage: Passage) -> tuple[str, date | None]:
    """A chat of one day; or a document."""
    return passage.key.source, passage.said_at.date() if passage.said_at else None


def _episodes(
    passages: Sequence[Passage], score: Mapping[PassageKey, float]
) -> dict[tuple[str, date | None], float]:
    """How well each episode matches: the mean of its three best passages."""
    scores = defaultdict(list)
    for passage in passages:
        scores[_episode(passage)].append(score.get(passage.key, 0.0))
    return {episode: sum(sorted(found)[-3:]) / 3 for episode, found in scores.items()}


def _covered(question: str, passages: Sequence[Passage]) -> dict[PassageKey, float]:
    """The share of the question's terms that a passage and those beside it have, rare ones counting more."""
    asked = set(terms(question))
    has = {
        passage.key: asked.intersection(terms(f"{passage.speaker} {passage.text}")) for passage in passages
    }
    count = Counter(term for found in has.values() for term in found)
    weight = {term: math.log(1 + (len(passages) + 0.5) / (count[term] + 0.5)) for term in sorted(asked)}
    whole = sum(weight.values()) or 1.0
    none: frozenset[str] = frozenset()
    return {
        key: sum(
            weight[term]
            for term in sorted(found | has.get(key.neighbour(-1), none) | has.get(key.neighbour(1), none))
        )
        / whole
        for key, found in has.items()
    }


def _asks(text: str) -> bool:
    return text.rstrip().endswith(("?", "？"))
