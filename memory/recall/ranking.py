"""Ranking: one order out of what the dense and the lexical index found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memory.recall.passage import Passage, PassageKey
from memory.recall.protocols import Hit

DENSE_SHARE = 0.5
NEIGHBOUR_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Ranked:
    """A passage and how well it answers the question; higher is better. `why` is for a person to read."""

    passage: Passage
    score: float
    why: str


def indexed_text(passage: Passage) -> str:
    """What both indexes hold of a passage: so "in May" and a name find it too."""
    date = f"[{passage.said_at:%-d %B %Y, %A}] " if passage.said_at else ""
    speaker = f"{passage.speaker}: " if passage.speaker else ""
    citation = f"({passage.citation}) " if passage.citation else ""
    return f"{date}{citation}{speaker}{passage.text}"


def fused(dense: Sequence[Hit], lexical: Sequence[Hit]) -> dict[PassageKey, float]:
    """The scores of both indexes on one scale, 0 to 1, added by their shares."""
    near, worded = _scaled(dense), _scaled(lexical)
    return {
        key: DENSE_SHARE * near.get(key, 0.0) + (1 - DENSE_SHARE) * worded.get(key, 0.0)
        for key in near | worded
    }


def with_neighbours(scores: Mapping[PassageKey, float]) -> dict[PassageKey, float]:
    """To each passage a share of the best score beside it; passages beside a found one are found by that."""
    keys = {key.neighbour(distance) for key in scores for distance in (-1, 0, 1)}
    return {
        key: scores.get(key, 0.0)
        + NEIGHBOUR_SHARE * max(scores.get(key.neighbour(distance), 0.0) for distance in (-1, 1))
        for key in keys
    }


def _scaled(hits: Sequence[Hit]) -> dict[PassageKey, float]:
    if not hits:
        return {}
    low, high = min(hit.score for hit in hits), max(hit.score for hit in hits)
    return {hit.key: (hit.score - low) / (high - low) if high > low else 1.0 for hit in hits}
