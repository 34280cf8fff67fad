"""The lexical index: terms of passages in tantivy, an index folder for each shelf.

How far a shelf is filled stands in the index itself and changes in the same commit as its passages. A folder
that is damaged is dropped, since all of it can be made again: it then counts as empty.
"""

import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import tantivy
from tantivy import Occur, Query

from memory.errors import IndexUnavailableError
from memory.recall.filters import asked_fields, exact_fields
from memory.recall.passage import Passage, PassageKey
from memory.recall.protocols import ANY, Filter, Hit
from memory.recall.words import terms

Result = TypeVar("Result")

HEAP_BYTES = 15_000_000
"""The least that tantivy's writer takes."""
OPEN_SHELVES = 32
"""An open index costs a thread; opening one takes a third of a millisecond."""
MAX_TERMS = 64
"""Of a longer question the rarest terms are asked for: they say what it is about."""
REWRITTEN = ".rewritten"
WATERMARK = "watermark"
FORMAT = f"{WATERMARK} 1"
"""The key of the watermark: one of another format is none, so the shelf is filled anew."""


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("key", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("terms", stored=True, tokenizer_name="whitespace", index_option="freq")
    for name in ("source", "speaker", "role"):
        builder.add_text_field(name, stored=True, tokenizer_name="raw", index_option="basic")
    # An unsigned field makes tantivy 0.27's writer panic.
    builder.add_integer_field("said_at", stored=True, indexed=True, fast=True)
    builder.add_integer_field(WATERMARK, stored=True)
    return builder.build()


SCHEMA = _schema()


@dataclass(frozen=True, slots=True)
class _Shelf:
    """An open index folder, as it was at its last commit."""

    searcher: tantivy.Searcher
    watermark: int
    count: int


class TantivyIndex:
    """`memory.recall.protocols.LexicalIndex` on tantivy. Thread-safe; all methods block.

    One process at a time may have the folder. Methods raise IndexUnavailableError if it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[str, _Shelf] = OrderedDict()
        self._lock = threading.Lock()
        self._writing = threading.RLock()

    def search(self, shelf: str, text: str, limit: int, where: Filter = ANY) -> Sequence[Hit]:
        """The passages that share words with `text`, by BM25, best first; equal ones by their keys."""
        asked = terms(text)

        def found(opened: _Shelf) -> list[Hit]:
            query = _query(opened.searcher, asked, where)
            if query is None:
                return []
            hits = opened.searcher.search(query, limit, count=False).hits
            return [
                Hit(PassageKey.of_name(opened.searcher.doc(address)["key"][0]), score)
                for score, address in hits
            ]

        nothing: list[Hit] = []
        return sorted(self._ask(shelf, found, nothing), key=lambda hit: (-hit.score, hit.key))

    def update(
        self,
        shelf: str,
        added: Sequence[Passage] = (),
        texts: Sequence[str] = (),
        removed: Sequence[PassageKey] = (),
        *,
        watermark: int | None = None,
        rewrite: bool = False,
    ) -> None:
        """Index passages by their texts, and let go of others, in one commit; all or nothing of it is there.

        Passages that are there already are replaced. `watermark`: how far the shelf is filled now. With
        `rewrite`, nothing of what has ever been let go of stays in the folder.
        """
        documents = [_document(passage, text) for passage, text in zip(added, texts, strict=True)]
        if watermark is not None:
            documents.append(tantivy.Document(key=FORMAT, **{WATERMARK: watermark}))
        gone = {*(key.name for key in removed), *(document["key"][0] for document in documents)}
        with self._writing:
            try:
                if rewrite:
                    kept = [document for document in self._documents(shelf) if document["key"][0] not in gone]
                    self._replace(shelf, [*kept, *documents])
                elif documents or gone:
                    self._write(self._path(shelf), documents, gone)
            except BaseException as error:
                if not _is_damage(error):
                    raise
                self._documents(shelf)  # drops what cannot be read
                raise IndexUnavailableError(f"the lexical index: {error}") from error
            finally:
                self._close(shelf)

    def watermark(self, shelf: str) -> int:
        """How far the shelf is filled, as `update` said last; 0 if nothing is there."""
        return self._ask(shelf, lambda opened: opened.watermark, 0)

    def count(self, shelf: str) -> int:
        """How many passages are on the shelf."""
        return self._ask(shelf, lambda opened: opened.count, 0)

    def keys(self, shelf: str) -> set[PassageKey]:
        """All that is on the shelf, for checks."""
        return {
            PassageKey.of_name(name)
            for document in self._documents(shelf)
            if (name := document["key"][0]) != FORMAT
        }

    def drop(self, shelf: str) -> None:
        """Let go of the whole shelf."""
        with self._writing:
            self._close(shelf)
            shutil.rmtree(self._path(shelf), ignore_errors=True)

    def scrub(self) -> None:
        """Let go of what a rewriting that was cut off has left."""
        with self._writing:
            shutil.rmtree(self._folder / REWRITTEN, ignore_errors=True)

    def shelves(self) -> set[str]:
        """All shelves that there are."""
        return {path.parent.name for path in self._folder.glob("[!.]*/meta.json")}

    def close(self) -> None:
        with self._lock:
            self._open.clear()

    def _path(self, shelf: str) -> Path:
        return self._folder / shelf

    def _ask(self, shelf: str, question: Callable[[_Shelf], Result], otherwise: Result) -> Result:
        """The answer of a shelf; `otherwise` of one that is not there, or is damaged and dropped for it."""
        try:
            opened = self._opened(shelf)
            return otherwise if opened is None else question(opened)
        except BaseException as error:
            if not _is_damage(error):
                raise
            self.drop(shelf)
            return otherwise

    def _opened(self, shelf: str) -> _Shelf | None:
        with self._lock:
            if (opened := self._open.get(shelf)) is not None:
                self._open.move_to_end(shelf)
                return opened
            path = self._path(shelf)
            if not (path / "meta.json").is_file():
                return None
            searcher = tantivy.Index.open(str(path)).searcher()
            opened = self._open[shelf] = _read(searcher)
            while len(self._open) > OPEN_SHELVES:
                self._open.popitem(last=False)
            return opened

    def _close(self, shelf: str) -> None:
        with self._lock:
            self._open.pop(shelf, None)

    def _documents(self, shelf: str) -> list[tantivy.Document]:
        def all_of(opened: _Shelf) -> list[tantivy.Document]:
            searcher = opened.searcher
            found = searcher.search(Query.all_query(), max(1, searcher.num_docs), count=False).hits
            return [searcher.doc(address) for _, address in found]

        return self._ask(shelf, all_of, [])

    def _write(self, path: Path, documents: Sequence[tantivy.Document], gone: set[str]) -> None:
        path.mkdir(parents=True, exist_ok=True)
        writer = tantivy.Index(SCHEMA, path=str(path)).writer(HEAP_BYTES, num_threads=1)
        try:
            for name in sorted(gone):
                writer.delete_documents_by_term("key", name)
            for document in documents:
                writer.add_document(document)
            writer.commit()
        finally:
            writer.wait_merging_threads()

    def _replace(self, shelf: str, documents: Sequence[tantivy.Document]) -> None:
        """Put another folder in the place of the shelf's. Cut off in between, the shelf is empty."""
        path, beside = self._path(shelf), self._folder / REWRITTEN
        shutil.rmtree(beside, ignore_errors=True)
        self._write(beside, documents, set())
        self._close(shelf)
        shutil.rmtree(path, ignore_errors=True)
        beside.rename(path)


def _query(searcher: tantivy.Searcher, asked: Sequence[str], where: Filter) -> Query | None:
    """Any of the terms, and all that the filter asks for; None if no term is known."""
    known = {term: searcher.doc_freq("terms", term) for term in dict.fromkeys(asked)}
    rarest = sorted((term for term in known if known[term]), key=lambda term: known[term])[:MAX_TERMS]
    if not rarest:
        return None
    words = Query.boolean_query(
        [(Occur.Should, Query.term_query(SCHEMA, "terms", term, "freq")) for term in rarest]
    )
    conditions = [(Occur.Must, Query.const_score_query(query, 0.0)) for query in _conditions(where)]
    return Query.boolean_query([(Occur.Must, words), *conditions]) if conditions else words


def _conditions(where: Filter) -> list[Query]:
    queries = [
        Query.term_query(SCHEMA, field, value, "basic") for field, value in asked_fields(where).items()
    ]
    if where.since is not None or where.until is not None:
        queries.append(
            Query.range_query(
                SCHEMA,
                "said_at",
                tantivy.FieldType.Integer,
                lower_bound=_microseconds(where.since) if where.since else None,
                upper_bound=_microseconds(where.until) if where.until else None,
                include_upper=False,
            )
        )
    return queries


def _document(passage: Passage, text: str) -> tantivy.Document:
    fields: dict[str, Any] = {
        "key": passage.key.name,
        "terms": " ".join(terms(text)),
        **exact_fields(passage),
    }
    if passage.said_at is not None:
        fields["said_at"] = _microseconds(passage.said_at)
    return tantivy.Document(**fields)


def _read(searcher: tantivy.Searcher) -> _Shelf:
    found = searcher.search(Query.term_query(SCHEMA, "key", FORMAT, "basic"), 1, count=False).hits
    watermark = int(searcher.doc(found[0][1])[WATERMARK][0]) if found else 0
    return _Shelf(searcher, watermark, searcher.num_docs - len(found))


def _microseconds(time: datetime) -> int:
    return round(time.timestamp() * 1_000_000)


def _is_damage(error: BaseException) -> bool:
    """What tantivy raises at files that are not as it wrote them; a panic of it is no Exception."""
    return isinstance(error, (ValueError, OSError)) or type(error).__name__ == "PanicException"
