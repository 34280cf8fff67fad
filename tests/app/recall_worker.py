"""A process that indexes a chat, step by step, until it is killed; run with the home and the session."""

import asyncio
import sys
from pathlib import Path

from app.recall.shelving import shelve
from app.storage.database import Database
from tests.app.recall_parts import OWNER, Library


async def work(home: Path, session_id: str) -> None:
    database = Database(home / "perdure.sqlite3")
    library = Library(database, home)
    await shelve(database, OWNER, session_id)
    print("shelved", flush=True)
    for shelf_id in await library.shelves():
        for index in library.indexing.indexes:
            index.batch = 7
            while await library.indexing.step(index, OWNER, shelf_id):
                print(index.name, flush=True)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2]))
