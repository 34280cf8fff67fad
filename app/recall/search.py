"""One search: both indexes as far as a question may see them, and whatever of them can be asked."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np
import structlog
from numpy.typing import NDArray

from app.storage.database import Database
from app.storage.passages import StoredPassages
from app.storage.shelves import Scope
from llm.errors import ModelError
from memory.errors import IndexUnavailableError
from memory.recall.passage import Passage, PassageKey
from memory.recall.protocols import ANY, DenseIndex, Embedder, Filter, Hit, LexicalIndex

log = structlog.get_logger()


class AskedDense:
    """The dense index and its model, for one question; failing, it finds nothing and `fault` says why.

    The question is embedded from the start on, in one of the `threads`, while others are still asked.
    """

    def __init__(
        self, index: DenseIndex, embedder: Embedder, scope: Scope, question: str, threads: Executor
    ) -> None:
        self.fault: str | None = None
        self._index = index
        self._embedder = embedder
        self._scope = scope
        self._vectors = {question: threads.submit(embedder.embed, [question])} if scope.shelves else {}

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        try:
            return [vector for text in texts for vector in self._vectors[text].result()]
        except ModelError as error:
            self._failed(error)
            return [()] * len(texts)

    def embed_words(self, words: Sequence[str]) -> NDArray[np.float32]:
        if self.fault is not None:
            return np.zeros((len(words), 1), dtype=np.float32)
        return self._embedder.embed_words(words)

    def search(self, shelf: str, vector: Sequence[float], limit: int, where: Filter = ANY) -> Sequence[Hit]:
        if self.fault is not None:
            return []
        try:
            return self._index.search(shelf, vector, limit, _narrowed(where, shelf, self._scope))
        except IndexUnavailableError as error:
            self._failed(error)
            return []

    def _failed(self, error: Exception) -> None:
        log.warning("recall goes by words alone", reason=str(error))
        self.fault = f"by words alone: {error}"


class AskedLexical:
    """The lexical index, for one question."""

    def __init__(self, index: LexicalIndex, scope: Scope) -> None:
        self._index = index
        self._scope = scope

    def search(self, shelf: str, text: str, limit: int, where: Filter = ANY) -> Sequence[Hit]:
        return self._index.search(shelf, text, limit, _narrowed(where, shelf, self._scope))


class ScopedPassages:
    """The passages of one owner that are in scope; any other is not there."""

    def __init__(self, database: Database, owner: str, scope: Scope) -> None:
        self._database = database
        self._owner = owner
        self._scope = scope

    async def passages(self, keys: Sequence[PassageKey]) -> Sequence[Passage]:
        async with self._database.read() as session:
            return await StoredPassages(session, self._owner).read(keys, self._scope)


def _narrowed(where: Filter, shelf: str, scope: Scope) -> Filter:
    """On a shelf of which only the chat's own passages are in scope, others must not crowd them out."""
    return replace(where, source=scope.session_id) if shelf in scope.own else where
