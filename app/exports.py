"""Exports: a chat session, or all of a user's, as the pieces of a file, read in batches of one snapshot."""

from collections.abc import AsyncIterator

from app.errors import NotFoundProblem
from app.storage.database import Database
from app.storage.personas import Personas
from app.transfer.archive import ChatHead
from app.transfer.formats import WRITERS, WrittenFormat
from app.transfer.from_store import StoredRecords
from app.transfer.perdure import header_line, record_line
from app.transfer.records import EndRecord, Record, SessionRecord
from memory.persona import ChatUser


async def export_session(
    database: Database, owner: str, session_id: str, file_format: WrittenFormat
) -> AsyncIterator[bytes]:
    """Raises NotFoundProblem before the first piece."""
    async with database.read() as session:
        stored = StoredRecords(session, owner)
        record = await stored.session_record(session_id)
        if record is None:
            raise NotFoundProblem(f"session {session_id} does not exist")
        if file_format == "perdure":
            yield header_line("session")
            async for line in _lines(_records(stored, [session_id])):
                yield line
            return
        writer, head = WRITERS[file_format], await _head(stored, record)
        yield writer.begin(head)
        number = 0
        async for message in stored.spoken(session_id):
            yield writer.message(head, message, number)
            number += 1
        yield writer.end


async def export_user(database: Database, owner: str, user_id: str) -> AsyncIterator[bytes]:
    """All sessions of a user and the personas in them. Raises NotFoundProblem before the first piece."""
    async with database.read() as session:
        stored = StoredRecords(session, owner)
        session_ids = await stored.sessions_of_user(user_id)
        if not session_ids:
            raise NotFoundProblem(f"user {user_id} has no sessions")
        yield header_line("user")
        async for line in _lines(_records(stored, session_ids)):
            yield line


async def _records(stored: StoredRecords, session_ids: list[str]) -> AsyncIterator[Record]:
    for persona in await stored.personas_of(session_ids):
        yield persona
    for session_id in session_ids:
        record = await stored.session_record(session_id)
        assert record is not None, "it was there in the same snapshot"
        yield record
        async for message in stored.message_records(session_id):
            yield message
        for entry in await stored.lore_records(session_id):
            yield entry
        for summary in await stored.summary_records(session_id):
            yield summary


async def _lines(records: AsyncIterator[Record]) -> AsyncIterator[bytes]:
    number = 0
    async for record in records:
        yield record_line(record)
        number += 1
    yield record_line(EndRecord(records=number))


async def _head(stored: StoredRecords, record: SessionRecord) -> ChatHead:
    persona = None
    if record.persona_id is not None:
        persona = await Personas(stored.session, stored.owner).get(record.persona_id)
    names = {"user": record.user_name or "User", "char": "Assistant"}
    if persona is not None:
        names = persona.persona.names_for(ChatUser(record.user_id, record.user_name))
    assert record.created_at is not None, "stored sessions have one"
    return ChatHead(names["user"], names["char"], record.created_at)
