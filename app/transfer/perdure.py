"""The format of this project: JSON lines, a header first, an `end` last; every record says what it is.

{"format": "perdure", "version": 1, "kind": "session"}
{"type": "persona", ...}                                   among them those of the sessions behind
{"type": "document", ...}, {"type": "document_piece", ...}
{"type": "session", ...}                                   then what is in it:
{"type": "message", ...}, {"type": "lore_entry", ...}, {"type": "summary", ...},
{"type": "fact", ...}, {"type": "refused_fact", ...}
{"type": "end", "records": 3}
"""

import json
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from app.fields import Wire
from app.transfer.archive import Archive, ChatArchive, DocumentArchive, TransferError
from app.transfer.files import Value, validated
from app.transfer.records import (
    RECORDS,
    DocumentPieceRecord,
    DocumentRecord,
    EndRecord,
    FactRecord,
    LoreRecord,
    MessageRecord,
    PersonaRecord,
    Record,
    RefusedFactRecord,
    SessionRecord,
    SummaryRecord,
)
from app.transfer.tree import check_quotes, check_references, spots

FORMAT = "perdure"
VERSION = 1

Kind = Literal["session", "persona", "user", "all"]
"""What was asked for; any of them is read alike."""


class Header(Wire):
    format: Literal["perdure"] = "perdure"
    version: int = Field(VERSION, ge=1)
    kind: Kind


def header_line(kind: Kind) -> bytes:
    return _line(Header(kind=kind))


def record_line(record: Record) -> bytes:
    return _line(record)


def recognise(values: Sequence[Value]) -> bool:
    first = values[0].value
    return isinstance(first, dict) and first.get("format") == FORMAT


def read(values: Sequence[Value]) -> Archive:
    """Raises TransferError."""
    header = validated(Header, values[0].value, values[0])
    if header.version > VERSION:
        raise TransferError(
            f"is of version {header.version}; this release reads versions up to {VERSION}",
            values[0].at("version"),
        )
    archive = Archive(FORMAT)
    records = [(value, _record(value)) for value in values[1:]]
    value, end = records.pop() if records else (values[0], None)
    if not isinstance(end, EndRecord):
        raise TransferError("the file is cut off: the record `end` is missing", value.at())
    if end.records != len(records):
        raise TransferError(f"there are {len(records)} records before it", value.at("records"))
    for value, record in records:
        _take(archive, record, value)
    _check(archive)
    return archive


def _record(value: Value) -> Record:
    kind = value.value.get("type") if isinstance(value.value, dict) else None
    if not isinstance(kind, str) or kind not in RECORDS:
        raise TransferError(f"must be an object whose type is one of {', '.join(RECORDS)}", value.at())
    return validated(RECORDS[kind], value.value, value)


def _take(archive: Archive, record: Record, value: Value) -> None:
    match record:
        case PersonaRecord():
            archive.personas.append(record)
        case SessionRecord():
            archive.chats.append(ChatArchive(record, value.at(), record.id))
        case DocumentRecord():
            archive.documents.append(DocumentArchive(record, value.at()))
        case DocumentPieceRecord():
            if not archive.documents:
                raise TransferError("stands before any document", value.at())
            archive.documents[-1].pieces.append(record)
        case EndRecord():
            raise TransferError("there is more behind the end", value.at())
        case _ if not archive.chats:
            raise TransferError("stands before any session", value.at())
        case MessageRecord():
            archive.chats[-1].messages.append(record)
        case LoreRecord():
            archive.chats[-1].lore.append(record)
        case SummaryRecord():
            archive.chats[-1].summaries.append(record)
        case FactRecord():
            archive.chats[-1].facts.append(record)
        case RefusedFactRecord():
            archive.chats[-1].refused_facts.append(record)


def _check(archive: Archive) -> None:
    personas = [persona.id for persona in archive.personas]
    ids = [
        *personas,
        *(each.document.id for each in archive.documents),
        *(chat.session.id for chat in archive.chats),
        *(summary.id for chat in archive.chats for summary in chat.summaries),
        *(entry.id for chat in archive.chats for entry in chat.lore),
        *(fact.id for chat in archive.chats for fact in chat.facts),
        *(message.id for chat in archive.chats for message in chat.messages),
    ]
    seen: set[str] = set()
    for each in ids:
        if each in seen:
            raise TransferError(f"the id {each!r} is there twice")
        seen.add(each)
    for chat in archive.chats:
        if chat.session.persona_id is not None and chat.session.persona_id not in personas:
            raise TransferError(f"{chat.session.persona_id!r} is not in the file", f"{chat.place}.persona_id")
        spots(chat.messages, chat.place)
        check_references(chat)
    check_quotes(archive.chats)
    _check_documents(archive)


def _check_documents(archive: Archive) -> None:
    """Count those that are not ready as left out; raise TransferError if one contradicts itself or others."""
    seen: set[tuple[str | None, str]] = set()
    for each in archive.documents:
        document = each.document
        if bool(each.pieces) != (document.status == "ready"):
            raise TransferError("a document has pieces if it is ready, and none before", each.place)
        if (document.user_id, document.sha256) in seen:
            raise TransferError("the same document is there twice", f"{each.place}.sha256")
        seen.add((document.user_id, document.sha256))
        if document.status != "ready":
            archive.left_out[f"a document with the status {document.status}"] += 1
    archive.documents = [each for each in archive.documents if each.document.status == "ready"]


def _line(record: Wire) -> bytes:
    return json.dumps(record.model_dump(mode="json", warnings=False), ensure_ascii=False).encode() + b"\n"
