"""Search: a question in, the passages that answer it out, best first."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from memory.recall.features import Matches, matches
from memory.recall.filters import meets, metadata_of
from memory.recall.passage import Passage
from memory.recall.protocols import ANY, DenseIndex, Embedder, Filter, Hit, LexicalIndex, Passages
from memory.recall.ranking import Ranked, rank

HITS = 200
"""Passages that each index is asked for."""
SEEDS = 120
"""Of those found by either, so many are ranked."""
BESIDE = 80
"""And of so many of them, the best, the passages beside them too."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, when, and of which shelves. `asked_at` has a zone."""

    text: str
    asked_at: datetime
    shelves: tuple[str, ...]
    where: Filter = field(default_factory=Filter)


class Searcher:
    """Searches both indexes of each shelf and ranks what they found. Deterministic."""

    def __init__(
        self, dense: DenseIndex, lexical: LexicalIndex, embedder: Embedder, passages: Passages
    ) -> None:
        self._dense = dense
        self._lexical = lexical
        self._embedder = embedder
        self._passages = passages

    async def search(self, question: Question, limit: int = 100) -> Sequence[Ranked]:
        """At most `limit` passages, best first; those beside good ones are among them.

        Nothing for a question without a letter or digit. What the store does not have is left out.
        """
        passages, found = await self.candidates(question)
        vectors = self._embedder.embed_words
        return rank(question.text, question.asked_at, passages, found, vectors, limit=limit)

    async def candidates(self, question: Question) -> tuple[Sequence[Passage], Matches]:
        """What is ranked: the passages that either index found, and those beside them."""
        if not any(character.isalnum() for character in question.text):
            return [], matches([], [])
        lexical, dense = await asyncio.gather(
            asyncio.to_thread(self._by_words, question), asyncio.to_thread(self._by_sense, question)
        )
        found = matches(lexical, dense)
        seeds = sorted(found.both, key=lambda key: (-found.both[key], key))[:SEEDS]
        beside = (key.neighbour(distance) for key in seeds[:BESIDE] for distance in (-1, 1))
        passages = await self._passages.passages(list(dict.fromkeys((*seeds, *beside))))
        if question.where != ANY:
            # Those that only stand beside a found one may not be as asked for.
            is_met = meets(question.where)
            passages = [passage for passage in passages if is_met(metadata_of(passage))]
        return passages, found

    def _by_words(self, question: Question) -> list[Hit]:
        hits = (
            self._lexical.search(shelf, question.text, HITS, question.where) for shelf in question.shelves
        )
        return [hit for found in hits for hit in found]

    def _by_sense(self, question: Question) -> list[Hit]:
        [vector] = self._embedder.embed([question.text])
        hits = (self._dense.search(shelf, vector, HITS, question.where) for shelf in question.shelves)
        return [hit for found in hits for hit in found]
