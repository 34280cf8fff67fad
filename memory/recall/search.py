"""Search: a question in, the passages that answer it out, best first."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from memory.recall.protocols import DenseIndex, Embedder, Filter, Hit, LexicalIndex, Passages
from memory.recall.ranking import Ranked, fused, with_neighbours

CANDIDATES = 200
"""Passages that each index is asked for."""


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
        """At most `limit` passages, best first; neighbours of good passages are among them.

        Nothing for a question without a letter or digit. What the store does not have is left out.
        """
        if not any(character.isalnum() for character in question.text):
            return []
        [vector] = await asyncio.to_thread(self._embedder.embed, [question.text])
        dense: list[Hit] = []
        lexical: list[Hit] = []
        for shelf in question.shelves:
            dense += await asyncio.to_thread(self._dense.search, shelf, vector, CANDIDATES, question.where)
            lexical += await asyncio.to_thread(
                self._lexical.search, shelf, question.text, CANDIDATES, question.where
            )
        scores = with_neighbours(fused(dense, lexical))
        keys = sorted(scores, key=lambda key: (-scores[key], key))[: 2 * limit]
        passages = {passage.key: passage for passage in await self._passages.passages(keys)}
        ranked = [
            Ranked(passages[key], scores[key], "its words and sense") for key in keys if key in passages
        ]
        return ranked[:limit]
