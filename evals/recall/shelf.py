"""A conversation on a shelf: both real indexes of it in a folder, and what searches them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from llm.progress import Progress, silent
from memory.recall.dense import ChromaIndex, embedded_chroma
from memory.recall.lexical import TantivyIndex
from memory.recall.passage import Passage, PassageKey
from memory.recall.protocols import Embedder
from memory.recall.ranking import embedded_text, indexed_text
from memory.recall.search import Searcher

BATCH = 64


class InMemoryPassages:
    """The passages of conversations, without a database."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._by_key = {passage.key: passage for passage in passages}

    async def passages(self, keys: Sequence[PassageKey]) -> Sequence[Passage]:
        return [self._by_key[key] for key in keys if key in self._by_key]


class Shelves:
    """Shelves in a folder, each filled with passages of one conversation."""

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self.embedder = embedder
        self.dense = ChromaIndex(embedded_chroma(folder / "dense"), model="evaluated")
        self.lexical = TantivyIndex(folder / "lexical")

    def fill(self, shelf: str, passages: Sequence[Passage], progress: Progress = silent) -> Searcher:
        """Index passages as the service does; what searches them."""
        texts = [embedded_text(passage) for passage in passages]
        for start in range(0, len(passages), BATCH):
            batch = slice(start, start + BATCH)
            self.dense.add(shelf, passages[batch], self.embedder.embed(texts[batch]))
            progress(f"indexing {shelf}", min(start + BATCH, len(passages)), len(passages))
        self.lexical.update(shelf, passages, [indexed_text(passage) for passage in passages])
        return Searcher(self.dense, self.lexical, self.embedder, InMemoryPassages(passages))


@contextmanager
def temporary_shelves(embedder: Embedder) -> Iterator[Shelves]:
    with TemporaryDirectory(prefix="perdure-eval-", ignore_cleanup_errors=True) as folder:
        shelves = Shelves(Path(folder), embedder)
        try:
            yield shelves
        finally:
            shelves.dense.close()
