"""Ranking: one order out of what the dense and the lexical index found."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from memory.recall.alike import WordVectors
from memory.recall.episodes import episodes_of, standing
from memory.recall.features import FEATURES, Matches, features
from memory.recall.passage import Passage

WEIGHTS = {
    "words": 0.72,
    "sense": 1.07,
    "either": 2.42,
    "beside": 0.91,
    "answers": 2.18,
    "alike": 0.69,
    "near_alike": 3.35,
    "around": 3.65,
    "episode": 1.55,
    "speaker": 1.39,
    "when": 1.67,
    "period": 2.53,
    "long": 1.74,
    "tells": 3.27,
    "asks": -1.76,
}
"""How much each counts; fitted by `python -m evals.recall.tune`."""

REASONS = {
    "words": "its words match",
    "sense": "its sense matches",
    "beside": "it stands beside a match",
    "answers": "it follows a question that matches",
    "alike": "its words are near the question's in sense",
    "near_alike": "words near the question's in sense are around it",
    "around": "the question's rare words are around it",
    "episode": "its conversation matches",
    "speaker": "it is by the speaker who is meant",
    "when": "it tells a time",
    "period": "it is from the time that is meant",
}
"""Why a passage was found, for a person. Its length and form say nothing to one."""
EMBEDDED = "text alone"
"""What vectors are made from: an index that says another thing is filled anew."""
TOLD = np.array([name in REASONS for name in FEATURES])
SPREAD = 0.2
"""How much less a further passage of an episode counts, by the logarithm of how many are before it."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A passage and how well it answers the question; higher is better. `why` is for a person to read."""

    passage: Passage
    score: float
    why: str


def indexed_text(passage: Passage) -> str:
    """What the lexical index holds of a passage: so "in May" and a name find it too."""
    said_at = passage.said_at
    date = f"[{said_at.day} {said_at:%B %Y}] " if said_at else ""
    citation = f"({passage.citation}) " if passage.citation else ""
    speaker = f"{passage.speaker}: " if passage.speaker else ""
    return f"{date}{citation}{speaker}{passage.text}"


def embedded_text(passage: Passage) -> str:
    """What the dense index's vector is made from: date and speaker would make passages look alike."""
    return f"({passage.citation}) {passage.text}" if passage.citation else passage.text


def rank(
    question: str,
    asked_at: datetime,
    passages: Sequence[Passage],
    found: Matches,
    vectors: WordVectors,
    *,
    limit: int | None = None,
) -> list[Ranked]:
    """The best `limit` passages, or all, best first; equal ones in the order of their keys."""
    passages = sorted(passages, key=lambda passage: passage.key)
    weights = np.array([WEIGHTS[name] for name in FEATURES])
    episodes = episodes_of(passages)
    parts = features(question, asked_at, passages, found, vectors, episodes=episodes) * weights
    scores = spread(parts.sum(1), episodes).round(6)
    best = np.argsort(-scores, kind="stable")[:limit]
    reasons = _why(parts[best] * TOLD)
    return [
        Ranked(passages[place], float(scores[place]), why) for place, why in zip(best, reasons, strict=True)
    ]


def spread(scores: NDArray[np.float64], episodes: NDArray[np.intp]) -> NDArray[np.float64]:
    """The scores, less for each further passage of an episode: so that one does not crowd out the others."""
    return scores - SPREAD * np.log1p(standing(scores, episodes))


def _why(parts: NDArray[np.float64]) -> list[str]:
    """Of each passage the three features that lift it most."""
    lifting = np.argsort(-parts, axis=1, kind="stable")[:, :3]
    return [
        ", ".join(REASONS[FEATURES[feature]] for feature in best if row[feature] > 0)
        for row, best in zip(parts.tolist(), lifting.tolist(), strict=True)
    ]
