"""An archive as new rows: everything gets an id of its own, and what names it in the archive names that."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.ids import new_id
from app.storage.fact_tables import FactRow, FactWatermarkRow, RefusedFactRow
from app.storage.recall_tables import DocumentPieceRow, DocumentRow
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
from app.transfer.records import MessageRecord, PersonaRecord, SessionRecord, TokensRecord
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
    said = persona.model_dump(include={"created_at", "updated_at"})
    new.add(PersonaRow, id=persona_id, revision=persona.revisions[-1].revision, **said)
    for revision in persona.revisions:
        new.add(PersonaRevisionRow, persona_id=persona_id, **revision.model_dump())
    if persona.card is not None:
        book = persona.card["data"].get("character_book")
        new.add(PersonaCardRow, persona_id=persona_id, card=persona.card, book=book)


def _add_session(new: NewRows, session: SessionRecord, memory: Row, now: datetime) -> None:
    session_id = new.names[session.id]
    branched = session.branched_from
    said = session.model_dump(exclude={"type", "personas", "branched_from", "facts_watermark"})
    renamed = {
        "id": session_id,
        "persona_id": new.renamed(session.persona_id),
        "branched_from_session": new.renamed(branched.session_id) if branched else None,
        "branched_from_message": new.renamed(branched.message_id) if branched else None,
    }
    times = {
        "created_at": session.created_at or now,
        "updated_at": session.updated_at or session.created_at or now,
    }
    new.add(SessionRow, **said | renamed | times | {"memory": memory})
    for number, given in enumerate(session.personas):
        said = given.model_dump() | {"persona_id": new.renamed(given.persona_id)}
        new.add(SessionPersonaRow, session_id=session_id, number=number, **said)


def _add_message(new: NewRows, message: MessageRecord, spot: Spot, session_id: str, now: datetime) -> None:
    message_id = new.names[message.id]
    said = message.model_dump(exclude={"type", "marks", "sampled", "context"})
    renamed: Row = {
        "id": message_id,
        "parent_id": new.renamed(message.parent_id),
        "copied_from": new.renamed(message.copied_from),
    }
    if message.sources is not None:
        renamed["sources"] = [
            each | {"document_id": new.renamed(each["document_id"])} for each in message.sources
        ]
    times = {
        "created_at": message.created_at or now,
        "forgotten_at": now if message.status == "deleted" else None,
    }
    place = {"session_id": session_id, "position": spot.position, "turn": spot.turn}
    new.add(MessageRow, **said | renamed | times | place)
    for mark in message.marks:
        said = mark.model_dump() | {"created_at": mark.created_at or now}
        new.add(MessageMarkRow, id=new_id("mrk"), session_id=session_id, message_id=message_id, **said)
    if message.sampled is not None:
        new.add(SampledTokensRow, message_id=message_id, **_packed(message.sampled))
    if message.context is not None:
        record = _renamed_record(new, message.context)
        new.add(ContextRecordRow, message_id=message_id, session_id=session_id, record=record)


def _add_derived(new: NewRows, chat: ChatArchive, session_id: str) -> None:
    for number, entry in enumerate(chat.lore):
        renamed = {"id": new.names[entry.id], "message_id": new.renamed(entry.message_id)}
        said = entry.model_dump(exclude={"type"}) | renamed
        new.add(LoreEntryRow, session_id=session_id, number=number, **said)
    for summary in chat.summaries:
        said = summary.model_dump(exclude={"type", "tokens"}) | {"id": new.names[summary.id]}
        new.add(SummaryRow, session_id=session_id, **said, **_packed(summary.tokens))


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


def _packed(tokens: TokensRecord) -> Row:
    return {"token_ids": pack_ids(tokens.token_ids), "fingerprint": tokens.fingerprint}


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
