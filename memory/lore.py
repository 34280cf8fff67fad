"""Lorebooks: texts that enter the context of a message when one of their keys was said lately.

What enters changes with every turn, so it stands behind the turns, right before the message.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from memory.context import ContextMessage, Segment
from memory.protocols import ChatEncoder

DEFAULT_SCAN_DEPTH = 4
DEFAULT_TOKEN_BUDGET = 512


@dataclass(frozen=True, slots=True)
class LoreEntry:
    """A text and what calls it: any of `keys`, and with `selective` any of `secondary_keys` too, as part of
    what was said. A `constant` one needs no key.
    """

    id: str
    content: str
    keys: tuple[str, ...] = ()
    secondary_keys: tuple[str, ...] = ()
    enabled: bool = True
    insertion_order: int = 0
    case_sensitive: bool = False
    constant: bool = False
    selective: bool = False


@dataclass(frozen=True, slots=True)
class Lorebook:
    """Entries; `scan_depth` newest turns and the new message are searched for their keys."""

    entries: tuple[LoreEntry, ...]
    scan_depth: int = DEFAULT_SCAN_DEPTH
    token_budget: int = DEFAULT_TOKEN_BUDGET

    @property
    def reserved_tokens(self) -> int:
        """What is kept free of stored turns, so that what enters does not move the window."""
        return self.token_budget if any(entry.enabled for entry in self.entries) else 0


@dataclass(frozen=True, slots=True)
class CalledLore:
    """The entries of one book that are called, as segments in the order in which they enter."""

    segments: tuple[Segment, ...]
    token_budget: int
    reserved_tokens: int

    def within(self, room: int) -> tuple[Segment, ...]:
        """Those that fit budget and `room`, in tokens; one that does not fit is passed over."""
        left = min(self.token_budget, room)
        entering = []
        for segment in self.segments:
            if segment.tokens <= left:
                left -= segment.tokens
                entering.append(segment)
        return tuple(entering)


def lore_within(books: Sequence[CalledLore], room: int) -> tuple[Segment, ...]:
    """What enters of several books, each within its own budget, all within `room`."""
    entering: tuple[Segment, ...] = ()
    for book in books:
        entering += book.within(room - sum(segment.tokens for segment in entering))
    return entering


def called_lore(book: Lorebook, said: Sequence[tuple[str, str]], encoder: ChatEncoder) -> CalledLore:
    """The entries that are called by what was `said`: (where, text), of recent turns and of the message.

    They enter by insertion order, and where that is the same, in the order of the book.
    """
    folded = [(where, text.casefold()) for where, text in said]
    called = []
    for entry in sorted(book.entries, key=lambda entry: entry.insertion_order):
        texts = said if entry.case_sensitive else folded
        if entry.enabled and (why := _why(entry, texts)):
            called.append(
                Segment(
                    kind="lore",
                    token_ids=encoder.encode_message("system", entry.content),
                    reason=f"lorebook entry {entry.id}: {why}",
                    messages=(ContextMessage("system", entry.content),),
                )
            )
    return CalledLore(tuple(called), book.token_budget, book.reserved_tokens)


def _why(entry: LoreEntry, texts: Sequence[tuple[str, str]]) -> str | None:
    """What calls the entry; None if nothing does."""
    if entry.constant:
        return "it is always told"
    first = _found(entry.keys, texts, entry.case_sensitive)
    if first is None or not (entry.selective and entry.secondary_keys):
        return first
    second = _found(entry.secondary_keys, texts, entry.case_sensitive)
    return f"{first}, {second}" if second else None


def _found(keys: Sequence[str], texts: Sequence[tuple[str, str]], case_sensitive: bool) -> str | None:
    for key in keys:
        sought = key if case_sensitive else key.casefold()
        for where, text in texts:
            if sought.strip() and sought in text:
                return f"{key!r} is in {where}"
    return None
