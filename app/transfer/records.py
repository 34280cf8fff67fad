"""The records of a transfer: chats and personas as plain data, whatever format they came in.

They are the records of our own format, too. Ids are those of the file. What follows from others is not in
them: `position` and `turn` of a message follow from its parents.
"""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from app.cards.book import MAX_BUDGET, MAX_DEPTH, book_of
from app.cards.files import CardError, check_card
from app.cards.mapping import persona_fields
from app.fields import Name, PlainText, StableText, Time, Wire
from app.lore_schemas import LoreEntryFields
from app.persona_schemas import PersonaCreate
from app.prefixes import read_typed
from app.schemas import ContextView, SourceView, Usage
from memory.facts.fact import OWNER
from memory.lore import DEFAULT_SCAN_DEPTH, DEFAULT_TOKEN_BUDGET
from memory.messages import Role

MAX_NUMBER = 2**31 - 1

Id = Annotated[str, Field(min_length=1, max_length=64)]
Count = Annotated[int, Field(ge=0, le=MAX_NUMBER)]
OutsideId = Annotated[str, Field(min_length=1, max_length=32)]
"""An id that may name what is not in the file; it is then kept as it is."""


class _Reference(BaseModel):
    id: OutsideId
    revision: Count
    user_id: str | None = None
    user_name: str | None = None


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    Usage.model_validate(usage, strict=True)
    return usage


def _sources(sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for source in sources:
        SourceView.model_validate(source, strict=True)
    return sources


def _told(segment: dict[str, Any]) -> list[dict[str, Any]]:
    told = segment.get("told", [])
    if not isinstance(told, list) or not all(
        isinstance(message, dict) and message.keys() == {"role", "content"} for message in told
    ):
        raise ValueError("told: must be a list of messages with role and content")
    return [message | {"id": None} for message in told]


def _context(record: dict[str, Any]) -> dict[str, Any]:
    """A context record, if it can be shown as one."""
    segments = record.get("segments")
    if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
        raise ValueError("segments: must be a list of objects")
    shown = [segment | {"messages": _told(segment)} for segment in segments]
    others = {"session_id": "", "message_id": "", "model": "", "turns": [], "segments": shown}
    ContextView.model_validate(record | others, strict=True)
    for segment in segments:
        if segment["kind"] == "summary" and not isinstance(segment.get("summary_id"), str):
            raise ValueError("a segment of a summary must name it")
        if segment["kind"] == "facts" and "fact_ids" not in segment:
            raise ValueError("a segment of facts must name them")
        if segment["kind"] == "turn" and segment["turn"] is None:
            raise ValueError("a segment of a turn must say which")
    if record.get("persona"):
        _Reference.model_validate(record["persona"])
    return record


def _card(card: dict[str, Any]) -> dict[str, Any]:
    try:
        check_card(card)
        book_of(card["data"].get("character_book"), {})
        persona_fields(card)
    except CardError as error:
        raise ValueError(f"{error.field}: {error}") from error
    return card


class RevisionRecord(PersonaCreate):
    revision: Annotated[int, Field(ge=1, le=MAX_NUMBER)]
    created_at: Time


class PersonaRecord(Wire):
    """A persona with all its revisions, the last of which is the one of now."""

    type: Literal["persona"] = "persona"
    id: Id
    created_at: Time
    updated_at: Time
    revisions: list[RevisionRecord] = Field(min_length=1)
    card: Annotated[dict[str, Any], AfterValidator(_card)] | None

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
    """A message, behind its parent in the file."""

    type: Literal["message"] = "message"
    id: Id
    parent_id: Id | None
    alternative: Count
    is_active: bool
    role: Role
    prefix: PlainText | None = None
    content: PlainText
    sources: Annotated[list[dict[str, Any]], AfterValidator(_sources)] | None = None
    status: Literal["complete", "interrupted"] = "complete"
    finish_reason: Literal["stop", "length", "cancelled", "error"] | None = None
    model: PlainText | None = None
    usage: Annotated[dict[str, Any], AfterValidator(_usage)] | None = None
    copied_from: OutsideId | None = None
    created_at: Time | None = None
    marks: list[MarkRecord] = Field([])
    sampled: TokensRecord | None = None
    context: Annotated[dict[str, Any], AfterValidator(_context)] | None = None

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
    "end": EndRecord,
}
