"""Filters on the metadata of passages: as Chroma takes them, and the same in Python."""

from collections.abc import Mapping
from typing import Any

from memory.recall.protocols import Filter


def _conditions(where: Filter) -> list[tuple[str, str, str | float]]:
    """What a filter asks for: field, comparison, value."""
    asked: list[tuple[str, str, str | float | None]] = [
        ("source", "$eq", where.source),
        ("speaker", "$eq", where.speaker.casefold() if where.speaker is not None else None),
        ("role", "$eq", where.role),
        ("said_at", "$gte", where.since.timestamp() if where.since else None),
        ("said_at", "$lt", where.until.timestamp() if where.until else None),
    ]
    return [(field, comparison, value) for field, comparison, value in asked if value is not None]


def chroma_where(where: Filter) -> dict[str, Any] | None:
    """The filter as Chroma takes it; None: it asks for nothing."""
    conditions = [{field: {comparison: value}} for field, comparison, value in _conditions(where)]
    if len(conditions) > 1:
        return {"$and": conditions}
    return conditions[0] if conditions else None


def matches(metadata: Mapping[str, Any], where: Filter) -> bool:
    """Whether a passage of that metadata is as the filter asks."""
    compare = {"$eq": lambda a, b: a == b, "$gte": lambda a, b: a >= b, "$lt": lambda a, b: a < b}
    return all(
        field in metadata and compare[comparison](metadata[field], value)
        for field, comparison, value in _conditions(where)
    )
