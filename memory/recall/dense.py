"""The dense index: vectors of passages in Chroma, a collection for each shelf.

A collection of its own keeps a shelf's search fast and apart: a filter over one large collection costs
tens of milliseconds, and could be forgotten. With a collection stands how far it is filled, and by which
embedding model; one of another model counts as empty. Small shelves are searched exactly.
"""

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import chromadb
import numpy as np
from chromadb.api import ClientAPI
from chromadb.api.rust import RustBindingsAPI
from chromadb.api.shared_system_client import SharedSystemClient
from chromadb.config import Settings, System
from chromadb.errors import NotFoundError
from numpy.typing import NDArray

from memory.errors import IndexUnavailableError
from memory.recall.exact import SMALL, SmallShelf, SmallShelves
from memory.recall.filters import chroma_where, metadata_of
from memory.recall.passage import Passage, PassageKey
from memory.recall.protocols import ANY, Filter, Hit
from memory.recall.vacuum import vacuum

BATCH = 1000
HNSW = {"space": "cosine", "ef_construction": 200, "ef_search": 400, "max_neighbors": 24}
"""`ef_search` is twice what is usually asked for: with less, some of the nearest are missed."""

REWRITTEN = ".rewritten"
OPEN_COLLECTIONS = 32
"""That an embedded Chroma holds in memory, of 2.6 MB and more. Its own bound is a fifth of the files that the
process may open, often tens of thousands."""

OpenClient = Callable[[], ClientAPI]


def embedded_chroma(folder: Path) -> OpenClient:
    """Chroma in this process, in that folder."""

    def open_client() -> ClientAPI:
        started = SharedSystemClient._identifier_to_system
        try:
            if str(folder) not in started:
                started[str(folder)] = _start_chroma(folder)
            return chromadb.PersistentClient(folder, settings=Settings(anonymized_telemetry=False))
        except BaseException:
            # Chroma keeps what it could not start, and would hand that out from then on.
            SharedSystemClient._identifier_to_system.pop(str(folder), None)
            raise

    return open_client


def _start_chroma(folder: Path) -> System:
    settings = Settings(anonymized_telemetry=False, is_persistent=True, persist_directory=str(folder))
    system = System(settings)
    system.instance(RustBindingsAPI).hnsw_cache_size = OPEN_COLLECTIONS
    system.start()
    return system


def chroma_server(url: str) -> OpenClient:
    """A server that `chroma run` started, such as http://localhost:8000."""
    address = urlsplit(url)
    is_secure = address.scheme == "https"
    return lambda: chromadb.HttpClient(
        host=address.hostname or "localhost",
        port=address.port or (443 if is_secure else 80),
        ssl=is_secure,
        settings=Settings(anonymized_telemetry=False),
    )


class ChromaIndex:
    """`memory.recall.protocols.DenseIndex` on Chroma. Thread-safe; all methods block.

    `model` names what the vectors are made with; `folder` is that of an embedded Chroma.
    Methods raise IndexUnavailableError if Chroma fails; the next call tries anew.
    """

    def __init__(self, open_client: OpenClient, model: str, folder: Path | None = None) -> None:
        self.model = model
        self.is_shared = folder is None
        self._folder = folder
        self._open_client = open_client
        self._opening = threading.Lock()
        self._opened: ClientAPI | None = None
        self._small = SmallShelves()

    def search(self, shelf: str, vector: Sequence[float], limit: int, where: Filter = ANY) -> Sequence[Hit]:
        """The nearest passages by cosine, best first; equal ones in the order of their keys."""
        with _chroma_errors():
            collection = self._collection(shelf)
            if collection is None:
                return []
            asked = np.asarray(vector, dtype=np.float32)
            watermark = int(collection.metadata["watermark"])
            small = self._small.get(str(collection.id), watermark, lambda: _read_small(collection))
            if small is not None:
                hits = small.nearest(asked, where)
            else:
                found = collection.query(
                    query_embeddings=cast(Any, [asked]),
                    n_results=limit,
                    where=cast(Any, chroma_where(where)),
                    include=["distances"],
                )
                distances = cast(list[list[float]], found["distances"])[0]
                hits = [
                    Hit(PassageKey.of_name(name), 1 - distance)
                    for name, distance in zip(found["ids"][0], distances, strict=True)
                ]
        hits.sort(key=lambda hit: (-hit.score, hit.key))
        return hits[:limit]

    def add(
        self,
        shelf: str,
        passages: Sequence[Passage],
        vectors: Sequence[Sequence[float]] | NDArray[np.float32],
        marks: Sequence[str] | None = None,
    ) -> None:
        """Index passages by their vectors of unit length; those that are there already are replaced.

        `marks`: of what each vector was made from, for `marks` to tell.
        """
        metadata = [metadata_of(passage) for passage in passages]
        for each, mark in zip(metadata, marks or (), strict=False):
            each["mark"] = mark
        with _chroma_errors():
            collection = self._collection(shelf) or self._create(shelf)
            for start in range(0, len(passages), BATCH):
                collection.upsert(
                    ids=[passage.key.name for passage in passages[start : start + BATCH]],
                    embeddings=np.asarray(vectors[start : start + BATCH], dtype=np.float32),
                    metadatas=cast(Any, metadata[start : start + BATCH]),
                )
            self._small.grown(str(collection.id))

    def marks(self, shelf: str, keys: Sequence[PassageKey]) -> dict[PassageKey, str]:
        """The marks that those of the passages were added with which are there."""
        with _chroma_errors():
            if (collection := self._collection(shelf)) is None or not keys:
                return {}
            found = collection.get(ids=[key.name for key in keys], include=["metadatas"])
            return {
                PassageKey.of_name(name): str(metadata.get("mark", ""))
                for name, metadata in zip(found["ids"], found["metadatas"] or (), strict=True)
            }

    def rewrite(self, shelf: str) -> None:
        """Put a new collection in the shelf's place, without what has been let go of.

        Cut off in between, the shelf stays as it was, or is empty.
        """
        beside = shelf + REWRITTEN
        with _chroma_errors():
            if (collection := self._collection(shelf)) is None:
                return
            copy = self._create(beside)
            total = collection.count()
            for start in range(0, total, BATCH):
                found = collection.get(limit=BATCH, offset=start, include=["embeddings", "metadatas"])
                copy.add(
                    ids=found["ids"], embeddings=cast(Any, found["embeddings"]), metadatas=found["metadatas"]
                )
            watermark = int(collection.metadata["watermark"])
            copy.modify(metadata={"model": self.model, "watermark": watermark})
            self._delete(shelf)
            copy.modify(name=shelf)

    def remove(self, shelf: str, keys: Sequence[PassageKey]) -> None:
        """Let go of passages; those that are not there are passed over."""
        with _chroma_errors():
            if not keys or (collection := self._collection(shelf)) is None:
                return
            for start in range(0, len(keys), BATCH):
                collection.delete(ids=[key.name for key in keys[start : start + BATCH]])
            self._small.shrunk(str(collection.id))

    def ping(self) -> None:
        """Ask a server whether it is there; Chroma in this process is."""
        if self._folder is None:
            with _chroma_errors():
                self._client().heartbeat()

    def watermark(self, shelf: str) -> int:
        """How far the shelf is filled, as `set_watermark` said last; 0 if nothing is there."""
        with _chroma_errors():
            collection = self._collection(shelf)
            return int(collection.metadata["watermark"]) if collection is not None else 0

    def set_watermark(self, shelf: str, watermark: int) -> None:
        with _chroma_errors():
            collection = self._collection(shelf) or self._create(shelf)
            collection.modify(metadata={"model": self.model, "watermark": watermark})

    def count(self, shelf: str) -> int:
        """How many passages are on the shelf."""
        with _chroma_errors():
            collection = self._collection(shelf)
            return collection.count() if collection is not None else 0

    def keys(self, shelf: str) -> set[PassageKey]:
        """All that is on the shelf, for checks."""
        with _chroma_errors():
            collection = self._collection(shelf)
            return (
                {PassageKey.of_name(name) for name in collection.get(include=[])["ids"]}
                if collection
                else set()
            )

    def drop(self, shelf: str) -> None:
        """Let go of the whole shelf, whichever model filled it."""
        with _chroma_errors():
            self._delete(shelf)
            self._delete(shelf + REWRITTEN)

    def scrub(self) -> None:
        """Let no file keep a trace of what has been dropped or rewritten.

        Chroma leaves the files of collections that are no more, and their rows in the free pages of its
        database. Those of a server are the server's; what a rewriting left there goes with the next one of
        the shelf, since another process may be at it.
        """
        with _chroma_errors():
            if self._folder is None:
                return
            for collection in self._client().list_collections():
                if collection.name.endswith(REWRITTEN):
                    self._delete(collection.name)
            if not (self._folder / "chroma.sqlite3").is_file():
                return
            # Before the database is asked: what is made meanwhile is not among them.
            folders = [path for path in self._folder.iterdir() if path.is_dir()]
            used = vacuum(self._folder / "chroma.sqlite3")
            for path in folders:
                if path.name not in used:
                    shutil.rmtree(path, ignore_errors=True)

    def shelves(self) -> set[str]:
        """All shelves that there are."""
        with _chroma_errors():
            return {
                collection.name.removesuffix(REWRITTEN) for collection in self._client().list_collections()
            }

    def close(self) -> None:
        with self._opening:
            if self._opened is not None:
                cast(Any, self._opened).close()
                self._opened = None

    def _client(self) -> ClientAPI:
        with self._opening:
            if self._opened is None:
                self._opened = self._open_client()
            return self._opened

    def _collection(self, shelf: str) -> chromadb.Collection | None:
        """The shelf's collection, if this model filled it."""
        try:
            collection = self._client().get_collection(shelf, embedding_function=None)
        except NotFoundError:
            return None
        return collection if collection.metadata["model"] == self.model else None

    def _delete(self, name: str) -> None:
        with suppress(NotFoundError):
            self._client().delete_collection(name)

    def _create(self, shelf: str) -> chromadb.Collection:
        self._delete(shelf)
        return self._client().create_collection(
            shelf,
            metadata={"model": self.model, "watermark": 0},
            configuration=cast(Any, {"hnsw": HNSW}),
            embedding_function=None,
        )


def _read_small(collection: chromadb.Collection) -> SmallShelf | None:
    # Chroma counts row by row: of a large collection that takes longer than a search.
    count = collection.count()
    if count > SMALL:
        return None
    found = collection.get(include=["embeddings", "metadatas"])
    return SmallShelf(
        [PassageKey.of_name(name) for name in found["ids"]],
        np.asarray(found["embeddings"], dtype=np.float32),
        list(found["metadatas"] or ()),
    )


@contextmanager
def _chroma_errors() -> Iterator[None]:
    """Chroma fails in many ways: with errors of its own, of HTTP, of values, and with panics."""
    try:
        yield
    except IndexUnavailableError:
        raise
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic is no Exception
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise IndexUnavailableError(f"Chroma: {reason}") from error
