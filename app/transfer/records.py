"""The records of a transfer: chats, personas and documents as plain data, whatever format they came in.

They are the records of our own format, too. Ids are those of the file. What follows from others is not in
them: `position` and `turn` of a message follow from its parents.
"""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from app.cards.book import MAX_BUDGET, MAX_DEPTH
from app.chat.prefixes import read_typed
from app.fields import Metadata, Name, PlainText, StableText, Text, Time, Wire
from app.schemas.lore import LoreEntryFields
from app.schemas.personas import NamedPersona
from app.transfer.checks import (
    MAX_NUMBER,
    Count,
    OutsideId,
    check_context,
    check_persona_card,
    check_sources,
    check_usage,
)
from memory.facts.fact import OWNER
from memory.lore import DEFAULT_SCAN_DEPTH, DEFAULT_TOKEN_BUDGET
from memory.messages import Role

Id = Annotated[str, Field(min_length=1, max_length=64)]


class RevisionRecord(NamedPersona):
    revision: Annotated[int, Field(ge=1, le=MAX_NUMBER)]
    created_at: Time


class PersonaRecord(Wire):
    """A persona with all its revisions, the last of which is the one of now. That it is public is not in it:
    no file makes what it brings so.
    """

    type: Literal["persona"] = "persona"
    id: Id
    created_at: Time
    updated_at: Time
    revisions: list[RevisionRecord] = Field(min_length=1)
    card: Annotated[dict[str, Any], AfterValidator(check_persona_card)] | None

    @model_validator(mode="after")
    def _in_order(self) -> "PersonaRecord":
        numbers = [revision.revision for revision in self.revisions]
        if any(later <= earlier for earlier, later in pairwise(numbers)):
            raise ValueError("revisions: must be in the order of their numbers, each once")
        return self


class BranchRecord(Wire):
    session_id: OutsideId
    message_id: OutsideId | None


class GivenPersonaRecord(Wire):
    """The persona that a session was given from a turn on."""

    turn: Count
    persona_id: OutsideId | None
    instructions: PlainText | None = None
    created_at: Time


class SessionRecord(Wire):
    """A chat session. The records behind it, up to the next session, are of what is in it.

    Without `memory` it has the service's own settings. `facts_watermark`: the position on its active path
    up to which facts are extracted, -1 where they are to be extracted anew; None if they never were.
    """

    type: Literal["session"] = "session"
    id: Id
    title: Name | None = None
    user_id: Name | None = None
    user_name: Name | None = None
    persona_id: Id | None = None
    personas: list[GivenPersonaRecord] = Field([])
    memory: dict[str, Any] | None = None
    prefixes: bool = False
    instructions: StableText | None = None
    client_metadata: Metadata = Field({})
    lore_scan_depth: int = Field(DEFAULT_SCAN_DEPTH, ge=0, le=MAX_DEPTH)
    lore_token_budget: int = Field(DEFAULT_TOKEN_BUDGET, ge=0, le=MAX_BUDGET)
    branched_from: BranchRecord | None = None
    facts_watermark: int | None = Field(None, ge=-1, le=MAX_NUMBER)
    created_at: Time | None = None
    updated_at: Time | None = None


class MarkRecord(Wire):
    kind: Literal["pinned", "excluded"]
    created_at: Time | None = None
    ended_at: Time | None = None


class TokensRecord(Wire):
    """Token ids, under the tokeniser and chat template that the fingerprint names."""

    token_ids: list[Count]
    fingerprint: str = Field(min_length=1, max_length=64)


class MessageRecord(Wire):
    """A message, behind its parent in the file; `deleted` is the empty place of one."""

    type: Literal["message"] = "message"
    id: Id
    parent_id: Id | None
    alternative: Count
    is_active: bool
    role: Role
    prefix: PlainText | None = None
    content: PlainText
    sources: Annotated[list[dict[str, Any]], AfterValidator(check_sources)] | None = None
    status: Literal["complete", "interrupted", "deleted"] = "complete"
    finish_reason: Literal["stop", "length", "cancelled", "error"] | None = None
    model: PlainText | None = None
    usage: Annotated[dict[str, Any], AfterValidator(check_usage)] | None = None
    copied_from: OutsideId | None = None
    created_at: Time | None = None
    marks: list[MarkRecord] = Field([])
    sampled: TokensRecord | None = None
    context: Annotated[dict[str, Any], AfterValidator(check_context)] | None = None

    @model_validator(mode="after")
    def _as_typed(self) -> "MessageRecord":
        if self.prefix is not None:
            typed = read_typed(self.prefix + self.content)
            if typed.kind == "ci" or (typed.prefix, typed.role) != (self.prefix, self.role):
                raise ValueError("prefix: is not what begins such a message")
        return self

    @model_validator(mode="after")
    def _marked_once(self) -> "MessageRecord":
        standing = [mark.kind for mark in self.marks if mark.ended_at is None]
        if len(standing) != len(set(standing)):
            raise ValueError("marks: one of a kind can stand at a time")
        if self.status == "deleted" and (self.content or "excluded" not in standing):
            raise ValueError("status: what is deleted is empty and excluded")
        return self


class LoreRecord(Wire):
    """An entry of the session's lorebook."""

    type: Literal["lore_entry"] = "lore_entry"
    id: Id
    message_id: Id | None
    content: PlainText | None
    settings: LoreEntryFields
    created_at: Time

    @model_validator(mode="after")
    def _one_text(self) -> "LoreRecord":
        if (self.content is None) == (self.message_id is None):
            raise ValueError("has either content or message_id")
        return self


class SummaryRecord(Wire):
    type: Literal["summary"] = "summary"
    id: Id
    recipe: str = Field(min_length=1, max_length=32)
    through_turn: Count
    enters_at: Count
    is_current: bool
    author: PlainText
    text: PlainText
    tokens: TokensRecord
    created_at: Time


class FactRecord(Wire):
    """A fact that a message tells, or that its owner put down."""

    type: Literal["fact"] = "fact"
    id: Id
    user_id: Name | None
    persona_id: OutsideId | None
    message_id: Id | None
    quote_start: Count | None
    quote_end: Count | None
    subject: PlainText
    key: PlainText
    value: PlainText
    ends: PlainText | None
    text: PlainText
    author: PlainText
    said_at: Time
    enters_at: Count
    created_at: Time

    @model_validator(mode="after")
    def _has_a_source(self) -> "FactRecord":
        if len({self.message_id is None, self.quote_start is None, self.quote_end is None}) > 1:
            raise ValueError("message_id, quote_start and quote_end go together")
        if self.message_id is None and self.author != OWNER:
            raise ValueError("only its owner puts down a fact that no message tells")
        return self


class RefusedFactRecord(Wire):
    """A fact of a message that its owner deleted."""

    type: Literal["refused_fact"] = "refused_fact"
    message_id: Id
    quote_start: Count
    quote_end: Count
    key: PlainText
    value_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: Time


class DocumentRecord(Wire):
    """A document. The pieces behind it, up to the next document, are its text; there are none until it is
    ready."""

    type: Literal["document"] = "document"
    id: Id
    user_id: Name | None
    name: Name
    media_type: str = Field(min_length=1, max_length=128)
    bytes: Count
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    status: Literal["ready", "processing", "failed"]
    pages: Count | None
    created_at: Time


class SpanRecord(Wire):
    unit: Literal["page", "line", "row"]
    first: Count
    last: Count


class PlaceRecord(Wire):
    headings: list[PlainText]
    span: SpanRecord | None


class DocumentPieceRecord(Wire):
    """The next piece of a document's text, and where in the document it is from."""

    type: Literal["document_piece"] = "document_piece"
    text: Text
    place: PlaceRecord


class EndRecord(Wire):
    """The last record, without which a file was cut off; `records` counts those between header and it."""

    type: Literal["end"] = "end"
    records: Count


Record = (
    PersonaRecord
    | SessionRecord
    | MessageRecord
    | LoreRecord
    | SummaryRecord
    | FactRecord
    | RefusedFactRecord
    | DocumentRecord
    | DocumentPieceRecord
    | EndRecord
)
RECORDS: dict[str, type[Record]] = {
    "persona": PersonaRecord,
    "session": SessionRecord,
    "message": MessageRecord,
    "lore_entry": LoreRecord,
    "summary": SummaryRecord,
    "fact": FactRecord,
    "refused_fact": RefusedFactRecord,
    "document": DocumentRecord,
    "document_piece": DocumentPieceRecord,
    "end": EndRecord,
}
