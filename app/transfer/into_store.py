"""An archive as new rows: everything gets an id of its own, and what names it in the archive names that."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.ids import new_id
from app.storage.document_passages import DocumentPassages
from app.storage.documents import Documents
from app.storage.fact_tables import FactRow, FactWatermarkRow, RefusedFactRow
from app.storage.recall_tables import DocumentPieceRow, DocumentRow
from app.storage.repository import Repository
from app.storage.tables import (
    ContextRecordRow,
    LoreEntryRow,
    MessageMarkRow,
    MessageRow,
    PersonaCardRow,
    PersonaRevisionRow,
    PersonaRow,
    SampledTokensRow,
    SessionPersonaRow,
    SessionRow,
    SummaryRow,
    Table,
)
from app.storage.token_index import pack_ids
from app.transfer.archive import Archive, ChatArchive, DocumentArchive
from app.transfer.records import MessageRecord, PersonaRecord, SessionRecord
from app.transfer.tree import Spot, spots

Row = dict[str, Any]
_ENTRY = re.compile(r"(?<=^lorebook entry )\S+(?=:)")
"""The id that the reason of a segment of lore begins with."""

TABLES: tuple[type[Table], ...] = (
    DocumentRow,
    DocumentPieceRow,
    PersonaRow,
    PersonaRevisionRow,
    PersonaCardRow,
    SessionRow,
    SessionPersonaRow,
    MessageRow,
    MessageMarkRow,
    SampledTokensRow,
    ContextRecordRow,
    LoreEntryRow,
    SummaryRow,
    FactRow,
    RefusedFactRow,
    FactWatermarkRow,
)
"""In the order in which they are filled: what a row names is there before it."""


@dataclass(slots=True)
class NewRows:
    """The rows of an archive. `names`: the new id of everything in it, by its id in the archive."""

    names: Mapping[str, str]
    rows: dict[type[Table], list[Row]] = field(default_factory=lambda: {table: [] for table in TABLES})

    def add(self, table: type[Table], **values: Any) -> None:
        self.rows[table].append(values)

    def renamed(self, name: str | None) -> str | None:
        """The new id; what is not in the archive keeps its own."""
        return None if name is None else self.names.get(name, name)


class Intake(Repository):
    """Stores what was read for one owner, in one unit of work."""

    async def documents_there(self, archive: Archive) -> dict[str, str]:
        """Which documents of an archive are there already: the ids of those, by the ids in the archive.

        One that could not be read makes room for the one of the archive.
        """
        documents = Documents(self.session, self.owner)
        await documents.hold_places(
            [(each.document.user_id, each.document.sha256) for each in archive.documents]
        )
        there: dict[str, str] = {}
        for document in (each.document for each in archive.documents):
            if same := await documents.same(document.user_id, document.sha256):
                if same.status == "failed":
                    await documents.remove(same.id)
                else:
                    there[document.id] = same.id
        return there

    async def store(self, new: NewRows) -> list[str]:
        """Store the rows, and put the documents on their shelves; gives the ids of these shelves."""
        for table, rows in new.rows.items():
            await self.insert(table, rows)
        documents = self.select(DocumentRow)
        passages = DocumentPassages(self.session, self.owner)
        shelves = [
            await passages.shelve(
                (await self.session.scalars(documents.where(DocumentRow.id == row["id"]))).one()
            )
            # Users in one order: two imports may take hold of the same shelves.
            for row in sorted(new.rows[DocumentRow], key=lambda row: row["user_id"] or "")
        ]
        return list(dict.fromkeys(shelves))


def new_rows(archive: Archive, memories: Sequence[Row], documents_there: Mapping[str, str]) -> NewRows:
    """The rows of an archive; `memories` are the memory settings of its chats."""
    new = NewRows(_new_names(archive) | dict(documents_there))
    now = datetime.now(UTC)
    for document in archive.documents:
        if document.document.id not in documents_there:
            _add_document(new, document)
    for persona in archive.personas:
        _add_persona(new, persona)
    for chat, memory in zip(archive.chats, memories, strict=True):
        _add_session(new, chat.session, memory, now)
        session_id = new.names[chat.session.id]
        standing = spots(chat.messages)
        for message in chat.messages:
            _add_message(new, message, standing[message.id], session_id, now)
        _add_derived(new, chat, session_id)
        _add_facts(new, chat, session_id)
    return new


def _new_names(archive: Archive) -> dict[str, str]:
    names = {persona.id: new_id("per") for persona in archive.personas}
    names |= {each.document.id: new_id("doc") for each in archive.documents}
    for chat in archive.chats:
        names[chat.session.id] = new_id("ses")
        names |= {message.id: new_id("msg") for message in chat.messages}
        names |= {summary.id: new_id("sum") for summary in chat.summaries}
        names |= {entry.id: new_id("lor") for entry in chat.lore}
        names |= {fact.id: new_id("fac") for fact in chat.facts}
    return names


def _add_document(new: NewRows, archived: DocumentArchive) -> None:
    document_id = new.names[archived.document.id]
    said = archived.document.model_dump(exclude={"type"})
    new.add(DocumentRow, **said | {"id": document_id, "pieces": len(archived.pieces)})
    for number, piece in enumerate(archived.pieces):
        new.add(
            DocumentPieceRow,
            document_id=document_id,
            number=number,
            text=piece.text,
            place=piece.place.model_dump(),
        )


def _add_persona(new: NewRows, persona: PersonaRecord) -> None:
    persona_id = new.names[persona.id]
    new.add(
        PersonaRow,
        id=persona_id,
        revision=persona.revisions[-1].revision,
        created_at=persona.created_at,
        updated_at=persona.updated_at,
    )
    for revision in persona.revisions:
        said = revision.model_dump() | {"persona_id": persona_id}
        new.add(PersonaRevisionRow, **said)
    if persona.card is not None:
        book = persona.card["data"].get("character_book")
        new.add(PersonaCardRow, persona_id=persona_id, card=persona.card, book=book)


def _add_session(new: NewRows, session: SessionRecord, memory: Row, now: datetime) -> None:
    branched = session.branched_from
    new.add(
        SessionRow,
        id=new.names[session.id],
        user_id=session.user_id,
        user_name=session.user_name,
        persona_id=new.renamed(session.persona_id),
        title=session.title,
        memory=memory,
        prefixes=session.prefixes,
        instructions=session.instructions,
        lore_scan_depth=session.lore_scan_depth,
        lore_token_budget=session.lore_token_budget,
        branched_from_session=new.renamed(branched.session_id) if branched else None,
        branched_from_message=new.renamed(branched.message_id) if branched else None,
        created_at=session.created_at or now,
        updated_at=session.updated_at or session.created_at or now,
    )
    for number, given in enumerate(session.personas):
        new.add(
            SessionPersonaRow,
            session_id=new.names[session.id],
            number=number,
            turn=given.turn,
            persona_id=new.renamed(given.persona_id),
            instructions=given.instructions,
            created_at=given.created_at,
        )


def _add_message(new: NewRows, message: MessageRecord, spot: Spot, session_id: str, now: datetime) -> None:
    message_id = new.names[message.id]
    new.add(
        MessageRow,
        id=message_id,
        session_id=session_id,
        parent_id=new.renamed(message.parent_id),
        alternative=message.alternative,
        position=spot.position,
        turn=spot.turn,
        is_active=message.is_active,
        copied_from=new.renamed(message.copied_from),
        role=message.role,
        prefix=message.prefix,
        content=message.content,
        sources=None
        if message.sources is None
        else [each | {"document_id": new.renamed(each["document_id"])} for each in message.sources],
        status=message.status,
        forgotten_at=now if message.status == "deleted" else None,
        finish_reason=message.finish_reason,
        model=message.model,
        usage=message.usage,
        created_at=message.created_at or now,
    )
    for mark in message.marks:
        new.add(
            MessageMarkRow,
            id=new_id("mrk"),
            session_id=session_id,
            message_id=message_id,
            kind=mark.kind,
            created_at=mark.created_at or now,
            ended_at=mark.ended_at,
        )
    if message.sampled is not None:
        tokens = message.sampled
        new.add(
            SampledTokensRow,
            message_id=message_id,
            token_ids=pack_ids(tokens.token_ids),
            fingerprint=tokens.fingerprint,
        )
    if message.context is not None:
        record = _renamed_record(new, message.context)
        new.add(ContextRecordRow, message_id=message_id, session_id=session_id, record=record)


def _add_derived(new: NewRows, chat: ChatArchive, session_id: str) -> None:
    for number, entry in enumerate(chat.lore):
        new.add(
            LoreEntryRow,
            id=new.names[entry.id],
            session_id=session_id,
            number=number,
            message_id=new.renamed(entry.message_id),
            content=entry.content,
            settings=entry.settings.model_dump(),
            created_at=entry.created_at,
        )
    for summary in chat.summaries:
        new.add(
            SummaryRow,
            id=new.names[summary.id],
            session_id=session_id,
            recipe=summary.recipe,
            through_turn=summary.through_turn,
            enters_at=summary.enters_at,
            is_current=summary.is_current,
            author=summary.author,
            text=summary.text,
            token_ids=pack_ids(summary.tokens.token_ids),
            fingerprint=summary.tokens.fingerprint,
            created_at=summary.created_at,
        )


def _add_facts(new: NewRows, chat: ChatArchive, session_id: str) -> None:
    for fact in chat.facts:
        renamed = {
            "id": new.names[fact.id],
            "persona_id": new.renamed(fact.persona_id),
            "message_id": new.renamed(fact.message_id),
        }
        said = fact.model_dump(exclude={"type"}) | renamed
        new.add(FactRow, session_id=session_id, **said)
    for refused in chat.refused_facts:
        renamed = {"id": new_id("fac"), "message_id": new.renamed(refused.message_id)}
        said = refused.model_dump(exclude={"type"}) | renamed
        new.add(RefusedFactRow, session_id=session_id, **said)
    if chat.session.facts_watermark is not None:
        new.add(FactWatermarkRow, session_id=session_id, position=chat.session.facts_watermark)


def _renamed_record(new: NewRows, record: Row) -> Row:
    segments = []
    for segment in record["segments"]:
        renamed: Row = {"message_ids": [new.renamed(message_id) for message_id in segment["message_ids"]]}
        if segment.get("summary_id"):
            renamed["summary_id"] = new.renamed(segment["summary_id"])
        if segment.get("fact_ids"):
            renamed["fact_ids"] = [new.renamed(fact_id) for fact_id in segment["fact_ids"]]
        if segment.get("passages"):
            renamed["passages"] = [
                each | {"message_id": new.renamed(each["message_id"]), "source": new.renamed(each["source"])}
                for each in segment["passages"]
            ]
        if segment["kind"] == "lore":
            renamed["reason"] = _ENTRY.sub(lambda entry: new.names.get(entry[0], entry[0]), segment["reason"])
        segments.append(segment | renamed)
    persona = record["persona"]
    if persona:
        persona = persona | {"id": new.renamed(persona["id"])}
    return record | {"persona": persona, "segments": segments}
