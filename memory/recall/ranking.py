"""Ranking: one order out of what the dense and the lexical index found."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from memory.recall.features import FEATURES, Matches, features
from memory.recall.passage import Passage

WEIGHTS = {
    "words": 2.08,
    "sense": 0.95,
    "beside": 1.41,
    "near": 1.21,
    "answers": 2.57,
    "covers": 1.82,
    "around": 4.72,
    "episode": 1.95,
    "speaker": 1.04,
    "when": 1.86,
    "period": 2.45,
    "long": 1.29,
    "asks": -1.07,
}
"""How much each feature counts; fitted by `python -m evals.recall.tune` (docs/recall.md says how)."""

REASONS = {
    "words": "its words match",
    "sense": "its sense matches",
    "beside": "it stands beside a match",
    "near": "it stands near a match",
    "answers": "it follows a question that matches",
    "covers": "it has the question's rare words",
    "around": "the question's rare words are around it",
    "episode": "its conversation matches",
    "speaker": "it is by the speaker who is meant",
    "when": "it tells a time",
    "period": "it is from the time that is meant",
}
"""Why a passage was found, for a person. Its length and form say nothing to one."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A passage and how well it answers the question; higher is better. `why` is for a person to read."""

    passage: Passage
    score: float
    why: str


def indexed_text(passage: Passage) -> str:
    """What both indexes hold of a passage: so "in May" and a name find it too."""
    said_at = passage.said_at
    date = f"[{said_at.day} {said_at:%B %Y}] " if said_at else ""
    citation = f"({passage.citation}) " if passage.citation else ""
    speaker = f"{passage.speaker}: " if passage.speaker else ""
    return f"{date}{citation}{speaker}{passage.text}"


def rank(question: str, asked_at: datetime, passages: Sequence[Passage], found: Matches) -> list[Ranked]:
    """The passages, best first; equal ones in the order of their keys."""
    parts = features(question, asked_at, passages, found) * np.array([WEIGHTS[name] for name in FEATURES])
    ranked = [
        Ranked(passage, round(float(row.sum()), 6), _why(row))
        for passage, row in zip(passages, parts, strict=True)
    ]
    return sorted(ranked, key=lambda each: (-each.score, each.passage.key))


def _why(parts: Sequence[float]) -> str:
    """The three features that lift a passage most."""
    lifting = sorted(
        ((part, name) for part, name in zip(parts, FEATURES, strict=True) if part > 0 and name in REASONS),
        reverse=True,
    )
    return ", ".join(REASONS[name] for _, name in lifting[:3])
