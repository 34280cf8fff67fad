"""What recall needs of others: two indexes to search, a store to read passages from, a model of sentences.

Passages lie on shelves: those that are searched together, and apart from all others, since each shelf has an
index of its own. A shelf holds what a user and a persona said to each other, or one chat of no named user,
or documents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memory.messages import Role
from memory.recall.passage import Passage, PassageKey


@dataclass(frozen=True, slots=True)
class Filter:
    """What passages must be like to be found; None asks for nothing. `until` is not included."""

    source: str | None = None
    speaker: str | None = None
    role: Role | None = None
    since: datetime | None = None
    until: datetime | None = None


ANY = Filter()


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that an index found; higher scores are better."""

    key: PassageKey
    score: float


class DenseIndex(Protocol):
    """Finds passages by the vectors of their texts."""

    def search(
        self, shelf: str, vector: Sequence[float], limit: int, where: Filter = Filter()
    ) -> Sequence[Hit]:
        """The nearest passages by cosine, best first; `vector` has unit length. Blocks."""


class LexicalIndex(Protocol):
    """Finds passages by the words of their texts."""

    def search(self, shelf: str, text: str, limit: int, where: Filter = Filter()) -> Sequence[Hit]:
        """The passages that share words with `text`, by BM25, best first. Blocks."""


class Passages(Protocol):
    """The passages as the store has them: what it does not have is gone, whatever an index says."""

    async def passages(self, keys: Sequence[PassageKey]) -> Sequence[Passage]:
        """Those of these that there are, in any order."""


class Embedder(Protocol):
    """A sentence-embedding model."""

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """A vector of unit length for each text. Blocks."""

    def embed_words(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of unit length of single words, out of context [words, width]; zeros if one has none."""
