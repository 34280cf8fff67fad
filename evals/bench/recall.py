"""`perdure bench recall`: searches of what a user said, alone and among others; indexing; engines.

The store, both indexes and the search are those of the service. The vectors of the bulk are mixed from those
of real texts, since embedding all of it would take an hour; questions are embedded, and counted, for real.
"""

import asyncio
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from app.models.embedding import SentenceEmbedder, load_sentence_transformer
from app.recall.service import Recall
from app.settings import Settings
from app.storage.database import Database, migrate
from app.storage.messages import MessageDraft, Messages
from app.storage.sessions import Sessions
from evals.bench.report import Goal, Row, Section, percentile
from evals.bench.script import SEED, Script
from llm.progress import Progress
from memory.recall.lexical import TantivyIndex
from memory.recall.passage import Passage, PassageKey
from memory.recall.ranking import embedded_text
from memory.recall.words import terms

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

OWNER = "bench"
CHAT_MESSAGES = 500
MIXED_FROM = 500
"""Real texts whose vectors the bulk's are mixed from."""
INDEXING_ROUNDS = 7
MOST_MS = 40.0
MOST_AMONG_OTHERS = 1.3
LEAST_OF_BARE = 0.8


@dataclass(frozen=True, slots=True)
class RecallSizes:
    """`turns` of the user who asks; `others` have `other_turns` each. `indexed`: texts that are embedded."""

    turns: int = 100_000
    others: int = 1_000
    other_turns: int = 40
    queries: int = 200
    indexed: int = 300


class BenchEmbedder:
    """The real model, or for the bulk a mixture of two of its vectors for each text."""

    def __init__(self, real: SentenceEmbedder, texts: Sequence[str]) -> None:
        self.real = real
        self.is_mixing = True
        self._base = np.asarray(real.embed(texts), dtype=np.float32)

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        if not self.is_mixing:
            return self.real.embed(texts)
        dice = [np.random.default_rng(crc32(text.encode())) for text in texts]
        picked = np.array([each.integers(0, len(self._base), 2) for each in dice])
        mixed = self._base[picked[:, 0]] + self._base[picked[:, 1]]
        mixed += np.stack([each.normal(0, 0.02, mixed.shape[1]) for each in dice])
        mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
        return mixed.tolist()  # type: ignore[no-any-return]

    def embed_words(self, words: Sequence[str]) -> NDArray[np.float32]:
        return self.real.embed_words(words)


class RecallBenchmark:
    """One store that grows: the user who asks, then the others."""

    def __init__(self, settings: Settings, script: Script, sizes: RecallSizes, progress: Progress) -> None:
        self._settings = settings
        self._sizes = sizes
        self._progress = progress
        self._dice = random.Random(SEED)
        self._said = [text for pair in script.said for text in pair]

    def run(self) -> list[Section]:
        with tempfile.TemporaryDirectory(prefix="perdure-bench-") as folder:
            settings = self._settings.model_copy(update={"home": Path(folder), "chroma_url": None})
            return asyncio.run(self._measured(settings))

    async def _measured(self, settings: Settings) -> list[Section]:
        migrate(settings.database_path)
        database = Database(settings.database_path)
        real = SentenceEmbedder(settings)
        embedder = BenchEmbedder(real, [self._text() for _ in range(MIXED_FROM)])
        recall = Recall(settings, database, embedder)
        sizes = self._sizes
        try:
            await self._fill(database, recall, "asking", sizes.turns)
            alone = await self._asked(recall, embedder, "asking alone")
            for number in range(sizes.others):
                await self._fill(database, recall, f"other {number}", sizes.other_turns, shown=False)
                self._progress("storing what others said", number + 1, sizes.others)
            shared = await self._asked(recall, embedder, "asking among others")
            embedder.is_mixing = False
            bare = load_sentence_transformer(settings.embedding_model, settings.models_folder)
            embedding = self._embedding(real, bare)
            indexing = await self._indexed(database, recall, bare)
        finally:
            await recall.close()
            await database.close()
        return [_queries(alone, shared, sizes), embedding, indexing, self._engines(Path(settings.home))]

    async def _fill(
        self, database: Database, recall: Recall, user: str, count: int, *, shown: bool = True
    ) -> None:
        for first in range(0, count, CHAT_MESSAGES):
            texts = [self._text() for _ in range(min(CHAT_MESSAGES, count - first))]
            await recall.bring_up(OWNER, await _store(database, user, texts))
            if shown:
                self._progress(f"storing {count:,} turns", first + len(texts), count)

    async def _asked(self, recall: Recall, embedder: BenchEmbedder, stage: str) -> list[float]:
        """Times of the questions, in ms; the first few are not counted."""
        embedder.is_mixing = False
        times = []
        dice = random.Random(SEED + 1)
        for number in range(self._sizes.queries + 5):
            text = dice.choice(self._said)
            began = time.perf_counter()
            await recall.of_user(OWNER, "asking", None, text)
            times.append(1000 * (time.perf_counter() - began))
            self._progress(stage, number + 1, self._sizes.queries + 5)
        embedder.is_mixing = True
        return times[5:]

    def _embedding(self, real: SentenceEmbedder, bare: "SentenceTransformer") -> Section:
        """Questions one by one, by turns with sentence-transformers itself; the first few are not counted."""
        times: dict[str, list[float]] = {"perdure": [], "sentence-transformers": []}
        for number in range(self._sizes.queries + 5):
            text = self._dice.choice(self._said)
            began = time.perf_counter()
            real.embed([text])
            ours = time.perf_counter()
            bare.encode([text], normalize_embeddings=True, show_progress_bar=False)
            bares = time.perf_counter()
            if number >= 5:
                times["perdure"].append(1000 * (ours - began))
                times["sentence-transformers"].append(1000 * (bares - ours))
        return Section("embedding", "a question by itself", [_times(*each) for each in times.items()])

    async def _indexed(self, database: Database, recall: Recall, bare: "SentenceTransformer") -> Section:
        """From the stored message to both indexes, beside what sentence-transformers does with the texts."""
        texts = [self._text() for _ in range(self._sizes.indexed)]
        said = [embedded_text(_passage(n, text)) for n, text in enumerate(texts)]
        rounds = []
        for number in range(INDEXING_ROUNDS):
            self._progress("indexing", number, INDEXING_ROUNDS)
            session_id = await _store(database, f"indexed {number}", texts)
            began = time.perf_counter()
            await recall.bring_up(OWNER, session_id)
            ours = len(texts) / (time.perf_counter() - began)
            began = time.perf_counter()
            bare.encode(said, normalize_embeddings=True, show_progress_bar=False)
            theirs = len(texts) / (time.perf_counter() - began)
            rounds.append({"indexing": ours, "bare": theirs, "ratio": ours / theirs})
        self._progress("indexing", INDEXING_ROUNDS, INDEXING_ROUNDS)
        rows = [
            Row(
                name,
                {"turns/s": statistics.median(each[figure] for each in rounds)},
                [{"turns/s": each[figure]} for each in rounds],
            )
            for name, figure in (("perdure: store to indexes", "indexing"), ("bare encode", "bare"))
        ]
        ratio = statistics.median(each["ratio"] for each in rounds)
        goal = Goal("turns/s, perdure / bare encode", LEAST_OF_BARE, ratio, "at least")
        return Section(
            "indexing", f"{len(texts):,} messages, put on the shelves and in both indexes", rows, [goal]
        )

    def _engines(self, folder: Path) -> Section:
        """The lexical engines on the same terms: a search for 200 passages, and adding one."""
        texts = [" ".join(terms(self._text())) for _ in range(self._sizes.turns)]
        asked = [self._dice.choice(self._said) for _ in range(self._sizes.queries)]
        index = TantivyIndex(folder / "engine")
        index.update("all", [_passage(n, text) for n, text in enumerate(texts)], texts)

        def add(number: int) -> None:
            index.update("all", [_passage(len(texts) + number, "one more")], ["one more"])

        rows = [_engine("tantivy", asked, lambda text: index.search("all", text, 200), add)]
        with sqlite3.connect(folder / "fts5.sqlite3") as table:
            table.execute("PRAGMA journal_mode=WAL")
            table.execute("CREATE VIRTUAL TABLE said USING fts5(body)")
            table.executemany("INSERT INTO said VALUES (?)", ((text,) for text in texts))
            table.commit()

            def search(text: str) -> object:
                words = " OR ".join(f'"{term}"' for term in dict.fromkeys(terms(text)))
                query = "SELECT rowid FROM said WHERE said MATCH ? ORDER BY rank LIMIT 200"
                return table.execute(query, (words,)).fetchall()

            def insert(_number: int) -> None:
                table.execute("INSERT INTO said VALUES ('one more')")
                table.commit()

            rows.append(_engine("SQLite FTS5", asked, search, insert))
        about = f"{len(texts):,} messages, the same terms; searches for 200, any of the words"
        return Section("lexical engines", about, rows)

    def _text(self) -> str:
        """The first half of one remark and the second of another, so that few are the same."""
        one, other = self._dice.choice(self._said).split(), self._dice.choice(self._said).split()
        return " ".join(one[: len(one) // 2 + 1] + other[len(other) // 2 :])


async def _store(database: Database, user: str, texts: Sequence[str]) -> str:
    async with database.write() as session:
        chat = await Sessions(session, OWNER).create(
            persona_id=None, user_id=user, title=None, memory={"strategy": "buffer"}
        )
        drafts = [
            MessageDraft("assistant" if number % 2 else "user", text) for number, text in enumerate(texts)
        ]
        await Messages(session, OWNER).append(chat.id, drafts)
    return chat.id


def _passage(number: int, text: str) -> Passage:
    return Passage(PassageKey("bench", number), text, speaker="User")


def _queries(alone: Sequence[float], shared: Sequence[float], sizes: RecallSizes) -> Section:
    rows = [_times("alone", alone), _times(f"among {sizes.others:,} others", shared)]
    ratio = statistics.median(shared) / statistics.median(alone)
    goals = [
        Goal("p95 ms, alone", MOST_MS, percentile(alone, 0.95)),
        Goal("p95 ms, among others", MOST_MS, percentile(shared, 0.95)),
        Goal("p50, among others / alone", MOST_AMONG_OTHERS, ratio),
    ]
    about = f"a question over {sizes.turns:,} turns of one user, its embedding and the ranking included"
    return Section("query", about, rows, goals)


def _times(name: str, times: Sequence[float]) -> Row:
    figures = {"p50 ms": statistics.median(times), "p95 ms": percentile(times, 0.95)}
    return Row(name, figures, [{"ms": each} for each in times])


def _engine(
    name: str, asked: Sequence[str], search: Callable[[str], object], add: Callable[[int], None]
) -> Row:
    searches, additions = [], []
    for text in asked:
        began = time.perf_counter()
        search(text)
        searches.append(1000 * (time.perf_counter() - began))
    for number in range(10):
        began = time.perf_counter()
        add(number)
        additions.append(1000 * (time.perf_counter() - began))
    figures = {
        "p50 ms": statistics.median(searches),
        "p95 ms": percentile(searches, 0.95),
        "add one, ms": statistics.median(additions),
    }
    return Row(name, figures, [{"ms": each} for each in searches])
