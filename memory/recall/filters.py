"""Filters of passages: what passages are filtered by, what a filter asks of it, and whether they meet."""

from collections.abc import Callable, Mapping
from typing import Any

from memory.recall.passage import Passage
from memory.recall.protocols import Filter

Metadata = dict[str, str | int | float]


def exact_fields(passage: Passage) -> dict[str, str]:
    """What a passage has of the fields that filters ask for as they are; speakers whatever their case."""
    fields = {"source": passage.key.source, "speaker": passage.speaker.casefold(), "role": passage.role}
    return {field: value for field, value in fields.items() if value}


def asked_fields(where: Filter) -> dict[str, str]:
    """What a filter asks of these fields."""
    speaker = where.speaker.casefold() if where.speaker is not None else None
    asked = {"source": where.source, "speaker": speaker, "role": where.role}
    return {field: value for field, value in asked.items() if value is not None}


def metadata_of(passage: Passage) -> Metadata:
    """What a passage is filtered by; its time in seconds."""
    metadata: Metadata = {"number": passage.key.number, **exact_fields(passage)}
    if passage.said_at is not None:
        metadata["said_at"] = passage.said_at.timestamp()
    return metadata


def chroma_where(where: Filter) -> dict[str, Any] | None:
    """The filter as Chroma takes it; None: it asks for nothing."""
    conditions: list[dict[str, Any]] = [
        {field: {"$eq": value}} for field, value in asked_fields(where).items()
    ]
    if where.since is not None:
        conditions.append({"said_at": {"$gte": where.since.timestamp()}})
    if where.until is not None:
        conditions.append({"said_at": {"$lt": where.until.timestamp()}})
    if len(conditions) > 1:
        return {"$and": conditions}
    return conditions[0] if conditions else None


def meets(where: Filter) -> Callable[[Mapping[str, Any]], bool]:
    """What tells of a passage's metadata whether it is as the filter asks."""
    asked = asked_fields(where)
    since = where.since.timestamp() if where.since is not None else None
    until = where.until.timestamp() if where.until is not None else None

    def is_met(metadata: Mapping[str, Any]) -> bool:
        if any(metadata.get(field) != value for field, value in asked.items()):
            return False
        if since is None and until is None:
            return True
        said_at = metadata.get("said_at")
        return (
            said_at is not None and (since is None or said_at >= since) and (until is None or said_at < until)
        )

    return is_met
