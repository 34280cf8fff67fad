"""Making the indexes of recall anew in this process, while no service runs; cut off, it is gone on with."""

import asyncio
import shutil
from dataclasses import dataclass

from app.models.embedding import SentenceEmbedder
from app.recall.service import Recall
from app.recall.shelving import shelve
from app.settings import Settings
from app.storage.database import Database, migrate
from app.storage.repository import owners
from app.storage.sessions import Sessions
from app.storage.shelves import Shelves
from llm.progress import Progress

MARKER = "reindexing"
"""A file that is there between the drop of the old indexes and the end; it names the user, or nobody."""


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What came of it."""

    passages: int
    was_resumed: bool


async def reindex(settings: Settings, user_id: str | None, progress: Progress) -> Reindexed:
    """Make all passages and indexes anew from the messages, of everybody or of one user.

    Raises IndexUnavailableError, and ModelError if there is no model to embed with.
    """
    await asyncio.to_thread(migrate, settings.database)
    database = Database(settings.database)
    recall = Recall(settings, database, SentenceEmbedder(settings))
    marker = settings.recall_folder / MARKER
    try:
        everybody = await _owners(database)
        is_resumed = marker.is_file() and marker.read_text(encoding="utf-8") == (user_id or "")
        if not is_resumed:
            if user_id is None:  # a damaged index could not even be emptied
                await asyncio.to_thread(shutil.rmtree, settings.recall_folder, ignore_errors=True)
            for owner in everybody:
                await recall.reindex(owner, user_id, progress)
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.write_text(user_id or "", encoding="utf-8")
        passages = 0
        for owner in everybody:
            passages += await _fill(database, recall, owner, user_id, progress)
        marker.unlink()
        return Reindexed(passages, is_resumed)
    finally:
        await recall.close()
        await database.close()


async def _fill(
    database: Database, recall: Recall, owner: str, user_id: str | None, progress: Progress
) -> int:
    """Shelve and index what is not yet; how many passages there are then."""
    async with database.read() as session:
        chats = await Sessions(session, owner).ids(user_id)
    for done, session_id in enumerate(chats):
        await shelve(database, owner, session_id)
        progress("reading the messages", done + 1, len(chats))
    async with database.read() as session:
        sizes = {row.id: size for row, size in await Shelves(session, owner).sizes(user_id)}
    total = sum(sizes.values())
    for index in recall.indexing.indexes:
        before = 0
        for shelf_id, size in sizes.items():
            while await recall.indexing.step(index, owner, shelf_id):
                there = await asyncio.to_thread(index.count, shelf_id)
                progress(f"{index.name} index", before + there, total)
            before += size
            progress(f"{index.name} index", before, total)
    for shelf_id in sizes:
        await recall.indexing.tidy(owner, shelf_id)
    return total


async def _owners(database: Database) -> list[str]:
    async with database.read() as session:
        return await owners(session)
