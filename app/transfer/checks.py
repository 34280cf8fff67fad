"""What a file gives to be kept as JSON is such that it can be shown, told and asked later."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from app.cards.book import book_of
from app.cards.files import CardError, check_card
from app.cards.mapping import persona_fields
from app.schemas.contexts import ContextView
from app.schemas.messages import SourceView, Usage

MAX_NUMBER = 2**31 - 1

Count = Annotated[int, Field(ge=0, le=MAX_NUMBER)]
OutsideId = Annotated[str, Field(min_length=1, max_length=32)]
"""An id that may name what is not in the file; it is then kept as it is."""


def _with_zone(time: str) -> str:
    if datetime.fromisoformat(time).tzinfo is None:
        raise ValueError("must say its zone")
    return time


class _Reference(BaseModel):
    id: OutsideId
    revision: Count
    user_id: str | None = None
    user_name: str | None = None


class _RecalledPassage(BaseModel):
    source: OutsideId
    number: Count
    message_id: OutsideId | None
    turn: Count | None
    speaker: str
    said_at: Annotated[str, AfterValidator(_with_zone)] | None
    citation: str
    score: float
    why: str
    tokens: Count
    starts_at: int
    characters: Count


class _RecallingSegment(BaseModel):
    passages: list[_RecalledPassage] = Field([])


class _RecallingRecord(BaseModel):
    segments: list[_RecallingSegment]


def check_usage(usage: dict[str, Any]) -> dict[str, Any]:
    """Raises ValueError."""
    Usage.model_validate(usage, strict=True)
    return usage


def check_sources(sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Raises ValueError."""
    for source in sources:
        SourceView.model_validate(source, strict=True)
    return sources


def check_context(record: dict[str, Any]) -> dict[str, Any]:
    """A context record, if it can be shown as one. Raises ValueError."""
    segments = record.get("segments")
    if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
        raise ValueError("segments: must be a list of objects")
    shown = [segment | {"messages": _told(segment), "passages": []} for segment in segments]
    others = {"session_id": "", "message_id": "", "model": "", "turns": [], "segments": shown}
    ContextView.model_validate(record | others, strict=True)
    _RecallingRecord.model_validate(record, strict=True)
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


def check_persona_card(card: dict[str, Any]) -> dict[str, Any]:
    """Raises ValueError."""
    try:
        check_card(card)
        book_of(card["data"].get("character_book"), {})
        persona_fields(card)
    except CardError as error:
        raise ValueError(f"{error.field}: {error}") from error
    return card


def _told(segment: dict[str, Any]) -> list[dict[str, Any]]:
    told = segment.get("told", [])
    if not isinstance(told, list) or not all(
        isinstance(message, dict) and message.keys() == {"role", "content"} for message in told
    ):
        raise ValueError("told: must be a list of messages with role and content")
    return [message | {"id": None} for message in told]
