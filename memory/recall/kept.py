"""Both indexes as what follows the store: handed its changes in order, they know how far they have come."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Protocol

from memory.recall.dense import ChromaIndex
from memory.recall.lexical import TantivyIndex
from memory.recall.passage import Passage, PassageKey
from memory.recall.protocols import Embedder
from memory.recall.ranking import embedded_text, indexed_text


class KeptIndex(Protocol):
    """An index that follows the store. Its methods block, and raise IndexUnavailableError."""

    name: str
    batch: int
    """How many passages it is given at once."""
    is_shared: bool
    """Whether other processes may fill it too."""

    def watermark(self, shelf: str) -> int:
        """Up to which change of the store the shelf is filled; negative while it is being filled anew."""

    def apply(
        self, shelf: str, added: Sequence[Passage], removed: Sequence[PassageKey], watermark: int | None
    ) -> None:
        """Index passages and let go of others; repeated, it changes nothing. `watermark`: then it is this."""

    def rewrite(self, shelf: str) -> None:
        """Let nothing stay on the disk of what the shelf has ever let go of."""

    def scrub(self) -> None:
        """Let no file keep a trace of what has been dropped or rewritten."""

    def count(self, shelf: str) -> int: ...

    def drop(self, shelf: str) -> None: ...

    def shelves(self) -> set[str]: ...


class KeptLexical:
    """The lexical index."""

    name = "lexical"
    batch = 2000
    is_shared = False

    def __init__(self, index: TantivyIndex) -> None:
        self._index = index
        self.watermark = index.watermark
        self.count = index.count
        self.drop = index.drop
        self.shelves = index.shelves
        self.scrub = index.scrub

    def apply(
        self, shelf: str, added: Sequence[Passage], removed: Sequence[PassageKey], watermark: int | None
    ) -> None:
        texts = [indexed_text(passage) for passage in added]
        self._index.update(shelf, added, texts, removed, watermark=watermark)

    def rewrite(self, shelf: str) -> None:
        self._index.update(shelf, rewrite=True)


class KeptDense:
    """The dense index, and the model that fills it. What has its vector already is not embedded again."""

    name = "dense"
    batch = 256

    def __init__(self, index: ChromaIndex, embedder: Embedder) -> None:
        self._index = index
        self._embedder = embedder
        self.is_shared = index.is_shared
        self.watermark = index.watermark
        self.count = index.count
        self.drop = index.drop
        self.shelves = index.shelves
        self.rewrite = index.rewrite
        self.scrub = index.scrub

    def apply(
        self, shelf: str, added: Sequence[Passage], removed: Sequence[PassageKey], watermark: int | None
    ) -> None:
        marks = {passage.key: _mark(indexed_text(passage)) for passage in added}
        held = self._index.marks(shelf, list(marks))
        new = [passage for passage in added if held.get(passage.key) != marks[passage.key]]
        if new:
            vectors = self._embedder.embed([embedded_text(passage) for passage in new])
            self._index.add(shelf, new, vectors, [marks[passage.key] for passage in new])
        self._index.remove(shelf, removed)
        if watermark is not None:
            self._index.set_watermark(shelf, watermark)


def _mark(text: str) -> str:
    """Tells whether a passage is the one that was added, its date and speaker included."""
    return sha256(text.encode()).hexdigest()[:16]
