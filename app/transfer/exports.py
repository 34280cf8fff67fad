"""Exports: a chat session, a persona, all of a user's or everything, as the pieces of a file.

They are read in batches of one snapshot of the database.
"""

from collections.abc import AsyncIterator, Sequence

from app.errors import NotFoundProblem
from app.storage.database import Database
from app.storage.personas import Personas
from app.transfer.archive import ChatHead
from app.transfer.formats import WRITERS, WrittenFormat
from app.transfer.from_store import StoredRecords
from app.transfer.perdure import header_line, record_line
from app.transfer.records import DocumentRecord, EndRecord, Record, SessionRecord
from app.transfer.spoken import spoken_messages
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
            async for line in _lines(_records(stored, await stored.personas_of([session_id]), [session_id])):
                yield line
            return
        writer, head = WRITERS[file_format], await _head(stored, record)
        yield writer.begin(head)
        number = 0
        async for message in spoken_messages(stored, session_id):
            yield writer.message(head, message, number)
            number += 1
        yield writer.end


async def export_persona(database: Database, owner: str, persona_id: str) -> AsyncIterator[bytes]:
    """A persona with all its revisions. Raises NotFoundProblem before the first piece."""
    async with database.read() as session:
        stored = StoredRecords(session, owner)
        if await stored.persona_record(persona_id) is None:
            raise NotFoundProblem(f"persona {persona_id} does not exist")
        yield header_line("persona")
        async for line in _lines(_records(stored, [persona_id], [])):
            yield line


async def export_user(database: Database, owner: str, user_id: str) -> AsyncIterator[bytes]:
    """All sessions of a user, the personas in them, and the user's own documents.

    Raises NotFoundProblem before the first piece.
    """
    async with database.read() as session:
        stored = StoredRecords(session, owner)
        session_ids = await stored.session_ids(user_id=user_id)
        documents = await stored.document_records(user_id=user_id)
        if not session_ids and not documents:
            raise NotFoundProblem(f"user {user_id} has no sessions and no documents")
        yield header_line("user")
        persona_ids = await stored.personas_of(session_ids)
        async for line in _lines(_records(stored, persona_ids, session_ids, documents)):
            yield line


async def export_all(database: Database, owner: str) -> AsyncIterator[bytes]:
    """All that the owner has: every session, every persona and every document."""
    async with database.read() as session:
        stored = StoredRecords(session, owner)
        yield header_line("all")
        documents = await stored.document_records()
        records = _records(stored, await stored.persona_ids(), await stored.session_ids(), documents)
        async for line in _lines(records):
            yield line


async def _records(
    stored: StoredRecords,
    persona_ids: list[str],
    session_ids: list[str],
    documents: Sequence[DocumentRecord] = (),
) -> AsyncIterator[Record]:
    """These, which are there in the snapshot of `stored`."""
    for persona_id in persona_ids:
        persona = await stored.persona_record(persona_id)
        assert persona is not None
        yield persona
    for document in documents:
        yield document
        async for piece in stored.piece_records(document.id):
            yield piece
    exported = set(session_ids)
    for session_id in session_ids:
        record = await stored.session_record(session_id)
        assert record is not None
        yield record
        async for message in stored.message_records(session_id):
            yield message
        for entry in await stored.lore_records(session_id):
            yield entry
        for summary in await stored.summary_records(session_id):
            yield summary
        for fact in await stored.fact_records(session_id, exported):
            yield fact
        for refused in await stored.refused_fact_records(session_id, exported):
            yield refused


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
