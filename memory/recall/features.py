"""Features: what is known of each passage beside a question, as numbers that ranking weighs.

All are between 0 and 1. Passages that are not among those to be ranked count as not there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memory.messages import Role
from memory.recall.alike import COMPARED, WordVectors, alike
from memory.recall.cues import Period, cues, named, says_time
from memory.recall.episodes import standing
from memory.recall.parts import Parts, rarity
from memory.recall.passage import Passage, PassageKey
from memory.recall.protocols import Hit
from memory.recall.sentences import Sentences
from memory.recall.text_terms import TextTerms
from memory.recall.words import GRAMMAR, terms

FEATURES = (
    "words",
    "sense",
    "either",
    "beside",
    "answers",
    "alike",
    "near_alike",
    "around",
    "episode",
    "speaker",
    "when",
    "period",
    "long",
    "tells",
    "asks",
)
FAR = 2**40
"""More than a source has passages."""
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
    question: str,
    asked_at: datetime,
    passages: Sequence[Passage],
    found: Matches,
    vectors: WordVectors,
    *,
    episodes: NDArray[np.intp],
) -> NDArray[np.float64]:
    """One row for each passage, a column for each of FEATURES. `episodes`: as by `episodes_of`."""
    if not passages:
        return np.zeros((0, len(FEATURES)))
    told = cues(question, asked_at)
    who = _Speaker(question, told.speaks, passages)
    places = _Places(passages)
    score = np.array([found.both.get(passage.key, 0.0) for passage in passages])
    parts = Parts([passage.text for passage in passages])
    terms_of, sentences = TextTerms(parts), Sentences(parts)
    near_in_sense = alike(question, {passage.speaker for passage in passages}, parts, vectors)
    before = places.shifted(score, -1)
    words = np.array([found.words.get(passage.key, 0.0) for passage in passages])
    sense = np.array([found.sense.get(passage.key, 0.0) for passage in passages])
    columns = {
        "words": words,
        "sense": sense,
        "either": np.maximum(words, sense),
        "beside": np.maximum(before, places.shifted(score, 1)),
        "answers": before * places.shifted(sentences.ends_asking, -1),
        "alike": near_in_sense,
        "near_alike": np.max([places.shifted(near_in_sense, distance) for distance in range(-2, 3)], axis=0),
        "around": _around(question, passages, terms_of, places),
        "episode": _best_three(score, episodes),
        "speaker": [who.is_meant(passage) for passage in passages],
        "when": [told.asks_when and says_time(passage.text) for passage in passages],
        "period": [_nearness(passage, told.period) for passage in passages],
        "long": np.minimum(1.0, np.log1p(parts.lengths) / np.log1p(LONG)),
        "tells": sentences.telling(terms_of),
        "asks": sentences.asking,
    }
    return np.column_stack([np.asarray(columns[name], dtype=np.float64) for name in FEATURES])


class _Places:
    """Which of some passages stand beside each other."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        sources = {source: at for at, source in enumerate({passage.key.source for passage in passages})}
        # Where a passage stands, as one number.
        self._stands = np.array([sources[each.key.source] * FAR + each.key.number for each in passages])
        self._order = np.argsort(self._stands)
        self._shifts: dict[int, NDArray[np.intp]] = {}

    def shifted(self, values: NDArray[Any], distance: int) -> NDArray[Any]:
        """For each passage the value of the one so far behind it; zero where that is not among them."""
        padded = np.concatenate([values, np.zeros_like(values[:1])])
        if distance not in self._shifts:
            self._shifts[distance] = self._shift(distance)
        return padded[self._shifts[distance]]

    def _shift(self, distance: int) -> NDArray[np.intp]:
        """For each passage the place of the one so far behind it, or -1."""
        wanted = self._stands + distance
        places = np.searchsorted(self._stands, wanted, sorter=self._order)
        places = self._order[np.minimum(places, len(self._order) - 1)]
        return np.where(self._stands[places] == wanted, places, -1)


class _Speaker:
    """Whose passages a question is about: of the one speaker that it names, or of "I" or "you"."""

    def __init__(self, question: str, speaks: Role | None, passages: Sequence[Passage]) -> None:
        names = named(question, {passage.speaker for passage in passages if passage.speaker})
        self._name = next(iter(names)) if len(names) == 1 else None
        self._role = None if names else speaks

    def is_meant(self, passage: Passage) -> bool:
        by_name = self._name is not None and passage.speaker == self._name
        by_role = self._role is not None and passage.role == self._role
        return by_name or by_role


def _scaled(hits: Sequence[Hit], low: float) -> dict[PassageKey, float]:
    high = max((hit.score for hit in hits), default=low)
    return {hit.key: (hit.score - low) / (high - low) if high > low else 1.0 for hit in hits}


def _around(
    question: str, passages: Sequence[Passage], terms_of: TextTerms, places: _Places
) -> NDArray[np.float64]:
    """The share of the question's terms that are in a passage or the three on either side.

    Rare terms count more, and words of grammar nothing. What is said has its speaker's name.
    """
    asked = [term for term in dict.fromkeys(terms(question)) if term not in GRAMMAR][-COMPARED:]
    if not asked:
        return np.zeros(len(passages))
    of_speakers = {name: set(terms(name)) for name in {passage.speaker for passage in passages}}
    by_name = np.array([[term in of_speakers[passage.speaker] for term in asked] for passage in passages])
    has = by_name | terms_of.having(asked)
    weight = rarity(has.sum(0), len(passages))
    around = has.copy()
    for distance in (-3, -2, -1, 1, 2, 3):
        around |= places.shifted(has, distance)
    share: NDArray[np.float64] = around @ weight / weight.sum()
    return share


def _best_three(score: NDArray[np.float64], episodes: NDArray[np.intp]) -> NDArray[np.float64]:
    """How well each passage's episode matches: the mean of its three best passages."""
    best = np.where(standing(score, episodes) < 3, score, 0.0)
    means: NDArray[np.float64] = np.bincount(episodes, best)[episodes] / 3
    return means


def _nearness(passage: Passage, period: Period | None) -> float:
    return period.nearness(passage.said_at) if period and passage.said_at else 0.0
