"""What tests of recall share: a database with chats, and an embedding model that needs no time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from app.recall.indexing import Indexing
from app.recall.shelving import shelve
from app.storage.database import Database
from app.storage.messages import MessageDraft, Messages
from app.storage.recall_tables import PassageRow
from app.storage.sessions import Sessions
from app.storage.shelves import Shelves
from app.storage.tables import MessageRow
from memory.messages import Role
from memory.recall.dense import ChromaIndex, embedded_chroma
from memory.recall.kept import KeptDense, KeptLexical
from memory.recall.lexical import TantivyIndex
from memory.recall.passage import PassageKey
from memory.recall.words import terms

OWNER = "local"
WIDTH = 32
START = datetime(2026, 1, 1, tzinfo=UTC)


class WordEmbedder:
    """Vectors of the words that a text has: like the real model, it finds like texts."""

    def __init__(self) -> None:
        self.embedded = 0

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        self.embedded += len(texts)
        return [list(vector) for vector in _vectors(texts)]

    def embed_words(self, words: Sequence[str]) -> NDArray[np.float32]:
        return _vectors(words)


def _vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    made = np.full((len(texts), WIDTH), 1e-3, dtype=np.float32)
    for row, text in zip(made, texts, strict=True):
        for term in terms(text):
            row[crc32(term.encode()) % WIDTH] += 1
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


class Library:
    """Both indexes over one database, and what stands in each of the three."""

    def __init__(self, database: Database, folder: Path, model: str = "words") -> None:
        self.database = database
        self.folder = folder
        self.embedder = WordEmbedder()
        self.dense = ChromaIndex(embedded_chroma(folder / "chroma"), model, folder / "chroma")
        self.lexical = TantivyIndex(folder / "lexical")
        self.indexing = Indexing(database, [KeptLexical(self.lexical), KeptDense(self.dense, self.embedder)])

    async def bring_up(self, session_id: str) -> None:
        await shelve(self.database, OWNER, session_id)
        for shelf_id in await self.shelves():
            await self.indexing.bring_up(OWNER, shelf_id)

    async def shelves(self) -> list[str]:
        async with self.database.read() as session:
            return [state.id for state in await Shelves(session, OWNER).all()]

    async def stored(self) -> dict[str, set[PassageKey]]:
        """What the store says stands on each shelf."""
        async with self.database.read() as session:
            query = Shelves(session, OWNER).select(PassageRow).where(PassageRow.is_gone.is_(False))
            found: dict[str, set[PassageKey]] = {}
            for row in (await session.scalars(query)).all():
                found.setdefault(row.shelf_id, set()).add(PassageKey(row.source, row.number))
            return found

    async def check(self) -> None:
        """Both indexes hold what the store says, and nothing else."""
        stored = await self.stored()
        for index in (self.lexical, self.dense):
            assert {shelf: index.keys(shelf) for shelf in index.shelves()} == stored

    def close(self) -> None:
        self.lexical.close()
        self.dense.close()


async def new_chat(
    database: Database, *, user_id: str | None = "tom", persona_id: str | None = None, owner: str = OWNER
) -> str:
    async with database.write() as session:
        row = await Sessions(session, owner).create(
            persona_id=persona_id, user_id=user_id, title=None, memory={"strategy": "buffer"}
        )
    return row.id


async def say(
    database: Database, session_id: str, *said: tuple[Role, str], owner: str = OWNER
) -> list[MessageRow]:
    async with database.write() as session:
        messages = Messages(session, owner)
        last = await messages.last(session_id)
        first = last.position + 1 if last else 0
        return await messages.append(
            session_id,
            [
                MessageDraft(role, text, created_at=START + timedelta(minutes=first + index))
                for index, (role, text) in enumerate(said)
            ],
        )
