"""Plain twins of what a search is given: obviously right, and without a model or an index on a disk."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from memory.recall.passage import Passage, PassageKey
from memory.recall.protocols import Filter, Hit
from memory.recall.ranking import embedded_text, indexed_text
from memory.recall.search import Question, Searcher
from memory.recall.words import terms

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
ANY = Filter()


class WordEmbedder:
    """Texts of the same words have the same vector."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [_unit(text) for text in texts]

    def embed_words(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Any two words are all but orthogonal."""
        drawn = [np.random.default_rng(crc32(word.encode())).normal(size=64) for word in words]
        made = np.array(drawn, dtype=np.float32).reshape(-1, 64)
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        return made


class NaiveIndexes:
    """The passages of some shelves: both indexes and the store in one. `kept` is what the store has."""

    def __init__(self, shelves: Mapping[str, Sequence[Passage]]) -> None:
        self.shelves = shelves
        self.kept = {passage.key: passage for found in shelves.values() for passage in found}
        self.dense = _Dense(self)
        self.lexical = _Lexical(self)

    def on(self, shelf: str, where: Filter) -> list[Passage]:
        return [passage for passage in self.shelves[shelf] if meets(passage, where)]

    async def passages(self, keys: Sequence[PassageKey]) -> list[Passage]:
        return [self.kept[key] for key in keys if key in self.kept]

    def searcher(self) -> Searcher:
        return Searcher(self.dense, self.lexical, WordEmbedder(), self)


class _Dense:
    def __init__(self, indexes: NaiveIndexes) -> None:
        self._indexes = indexes

    def search(self, shelf: str, vector: Sequence[float], limit: int, where: Filter = ANY) -> list[Hit]:
        return _best(
            (passage, float(np.dot(_unit(embedded_text(passage)), vector)))
            for passage in self._indexes.on(shelf, where)
        )[:limit]


class _Lexical:
    def __init__(self, indexes: NaiveIndexes) -> None:
        self._indexes = indexes

    def search(self, shelf: str, text: str, limit: int, where: Filter = ANY) -> list[Hit]:
        asked = set(terms(text))
        return [
            hit
            for hit in _best(
                (passage, float(len(asked.intersection(terms(indexed_text(passage))))))
                for passage in self._indexes.on(shelf, where)
            )
            if hit.score
        ][:limit]


def said(
    *texts: str, source: str = "ses_1", days: int = 0, speakers: Sequence[str] = ("Ada", "Bo")
) -> list[Passage]:
    """A chat: the speakers take turns, a minute each."""
    return [
        Passage(
            PassageKey(source, number),
            text,
            speaker=speakers[number % 2],
            role="user" if number % 2 == 0 else "assistant",
            said_at=START + timedelta(days=days, minutes=number),
            turn=number // 2,
            message_id=f"{source}-{number}",
        )
        for number, text in enumerate(texts)
    ]


def asking(text: str, *shelves: str, days: int = 300, where: Filter = ANY) -> Question:
    return Question(text, START + timedelta(days=days), shelves or ("shelf",), where)


def meets(passage: Passage, where: Filter) -> bool:
    assert passage.said_at is not None
    return (
        where.source in (None, passage.key.source)
        and where.speaker in (None, passage.speaker)
        and where.role in (None, passage.role)
        and (where.since is None or passage.said_at >= where.since)
        and (where.until is None or passage.said_at < where.until)
    )


def _unit(text: str) -> list[float]:
    vector = np.full(64, 1e-3)
    for term in terms(text):
        vector[sum(term.encode()) % 64] += 1
    return list(vector / np.linalg.norm(vector))


def _best(scored: Iterable[tuple[Passage, float]]) -> list[Hit]:
    hits = [Hit(passage.key, score) for passage, score in scored]
    return sorted(hits, key=lambda hit: (-hit.score, hit.key))
