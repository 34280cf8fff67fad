"""What tests of exports and imports share: a whole database exported, imported, read, and made comparable."""

import json
import re
from typing import Any

from sqlalchemy import Select, select

from app.recall.shelving import shelve
from app.storage.database import Database
from app.storage.tables import Table
from app.storage.token_index import bring_up
from app.transfer.archive import Archive
from app.transfer.exports import export_all, export_session
from app.transfer.formats import read_file
from app.transfer.from_store import StoredRecords
from app.transfer.into_store import Intake
from app.transfer.new_rows import new_rows
from tests.app.lives import MEMORY
from tests.app.test_storage import ByteEncoder

ID = re.compile(r"\b(?:per|ses|msg|sum|lor|fac|doc)_[0-9a-f]{24}\b")
ENCODER = ByteEncoder()
NEW_BY_DESIGN = {
    "message_marks": {"id"},
    "lore_entries": {"number"},
    "refused_facts": {"id"},
    "shelves": {"id", "last_change", "purged_at", "tidied_to"},
    "passages": {"shelf_id", "change"},
}
"""What is in no file and follows from nothing in it; of numbers only the order is kept. Shelves and passages
are made anew from what is in the file; how often they have changed is theirs alone."""


async def exported(database: Database, owner: str, session_id: str | None = None) -> bytes:
    """Of one session, or everything."""
    pieces = (
        export_session(database, owner, session_id, "perdure") if session_id else export_all(database, owner)
    )
    return b"".join([piece async for piece in pieces])


def normalised(file: bytes) -> str:
    """The file with each id as the number of where it first appears."""
    names: dict[str, str] = {}
    return ID.sub(lambda found: names.setdefault(found[0], f"id {len(names)}"), file.decode())


def without_unread(file: bytes) -> bytes:
    """The file without the documents that are not ready: what is exported of an import of it."""
    records = [json.loads(line) for line in file.splitlines()]
    kept = [each for each in records if each.get("status") not in ("processing", "failed")]
    kept[-1]["records"] = len(kept) - 2
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in kept)


async def imported(database: Database, owner: str, archive: Archive) -> dict[str, str]:
    """The new ids by those in the archive."""
    memories = [chat.session.memory or MEMORY for chat in archive.chats]
    async with database.write() as session:
        intake = Intake(session, owner)
        new = new_rows(archive, memories, await intake.documents_there(archive))
        await intake.store(new)
    return dict(new.names)


async def sessions_imported(database: Database, owner: str, file: bytes) -> list[str]:
    archive = read_file(file, "auto", lossy=False)
    names = await imported(database, owner, archive)
    return [names[chat.session.id] for chat in archive.chats]


async def stored_rows(database: Database, owner: str) -> dict[str, list[dict[str, Any]]]:
    """All there is in a database, by table, what is derived from all chats brought up."""
    async with database.read() as session:
        session_ids = await StoredRecords(session, owner).session_ids()
    for session_id in session_ids:
        await bring_up(database, owner, session_id, ENCODER, ENCODER.fingerprint)
        await shelve(database, owner, session_id)
    async with database.read() as session:
        return {
            table.name: [dict(row) for row in (await session.execute(_of(table, owner))).mappings()]
            for table in Table.metadata.sorted_tables
        }


def in_file(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """What is left of the rows of a database if nothing is left of messages that are forgotten, and of
    documents that are not ready."""
    said = {row["id"]: row["content"] for row in rows["messages"] if row["forgotten_at"]}
    kept = {name: [row for row in table if row.get("message_id") not in said] for name, table in rows.items()}
    kept["messages"] = [row for row in rows["messages"] if row["id"] not in said]
    kept["lore_entries"] = [
        row | {"message_id": None, "content": said[row["message_id"]]} if row["message_id"] in said else row
        for row in rows["lore_entries"]
    ]
    kept["documents"] = [row for row in rows["documents"] if row["status"] == "ready"]
    return kept


def as_lines(rows: dict[str, list[dict[str, Any]]], names: dict[str, str]) -> dict[str, list[str]]:
    """Each row as a text that says all of its columns, with `names` for the ids in them."""

    def line(table: str, row: dict[str, Any]) -> str:
        kept = {name: value for name, value in row.items() if name not in NEW_BY_DESIGN.get(table, ())}
        text = json.dumps(kept, sort_keys=True, default=repr)
        return ID.sub(lambda found: names.get(found[0], found[0]), text)

    return {table: sorted(line(table, row) for row in each) for table, each in rows.items()}


def _of(table: Any, owner: str) -> Select[Any]:
    return select(table).where(table.c.owner == owner)
