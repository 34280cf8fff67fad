"""The lorebook of a character card, its `character_book`."""

from typing import Any

from app.cards.files import CardError, Json
from memory.lore import DEFAULT_SCAN_DEPTH, DEFAULT_TOKEN_BUDGET, Lorebook, LoreEntry
from memory.templates import fill

MAX_ENTRIES = 2000
MAX_DEPTH, MAX_BUDGET = 100, 100_000
_BOOK = "data.character_book"


def book_of(book: Any, names: dict[str, str]) -> Lorebook | None:
    """The lorebook of a card's `character_book`, with `names` put into its texts. Raises CardError.

    Entries whose keys are patterns (`use_regex`) are never called.
    """
    if book is None:
        return None
    if not isinstance(book, dict):
        raise CardError("must be an object", _BOOK)
    entries = book.get("entries", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CardError("must be a list of objects", f"{_BOOK}.entries")
    if len(entries) > MAX_ENTRIES:
        raise CardError(f"may have at most {MAX_ENTRIES} entries", f"{_BOOK}.entries")
    return Lorebook(
        tuple(_entry(number, entry, names) for number, entry in enumerate(entries)),
        scan_depth=_number(book, "scan_depth", DEFAULT_SCAN_DEPTH, MAX_DEPTH),
        token_budget=_number(book, "token_budget", DEFAULT_TOKEN_BUDGET, MAX_BUDGET),
    )


def _entry(number: int, entry: Json, names: dict[str, str]) -> LoreEntry:
    where = f"{_BOOK}.entries.{number}"
    order, content = entry.get("insertion_order", 0), entry.get("content", "")
    if not isinstance(order, int | float):
        raise CardError("must be a number", f"{where}.insertion_order")
    if not isinstance(content, str):
        raise CardError("must be a text", f"{where}.content")
    return LoreEntry(
        id=f"{number} of the persona",
        content=fill(content, names),
        keys=_keys(entry, "keys", where, names),
        secondary_keys=_keys(entry, "secondary_keys", where, names),
        enabled=bool(entry.get("enabled", True) and content.strip() and not entry.get("use_regex")),
        insertion_order=int(order),
        case_sensitive=bool(entry.get("case_sensitive")),
        constant=bool(entry.get("constant")),
        selective=bool(entry.get("selective")),
    )


def _keys(entry: Json, field: str, where: str, names: dict[str, str]) -> tuple[str, ...]:
    keys: Any = entry.get(field) or []
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise CardError("must be a list of texts", f"{where}.{field}")
    return tuple(fill(key, names) for key in keys)


def _number(book: Json, field: str, default: int, most: int) -> int:
    value = book.get(field)
    if value is None:
        return default
    if not isinstance(value, int | float) or value < 0:
        raise CardError("must be a number, 0 or more", f"{_BOOK}.{field}")
    return int(min(value, most))
