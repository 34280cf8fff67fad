"""What the readers of all formats share: limits, errors, and how they tell how far they are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

Report = Callable[[int, int], None]
"""Told how much of how much has been read."""


class DocumentError(Exception):
    """A file cannot be read as a document; the message says what is wrong, and where in it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a document may have at most, and what reading it may take."""

    pages: int
    cells: int
    unpacked_mb: int
    seconds: int
    memory_mb: int
    piece_tokens: int
    characters: int = 20_000_000


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Around a library at work: over a broken file it may raise anything. Raises DocumentError instead."""
    try:
        yield
    except (DocumentError, MemoryError, RecursionError):
        raise
    except Exception as error:
        raise DocumentError(f"{what} cannot be read: {error or type(error).__name__}") from error


class CellCount:
    """Counts the cells of a document's tables. Raises DocumentError where there are too many."""

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.cells
        self._count = 0

    def add(self, cells: int) -> None:
        self._count += cells
        if self._count > self._limit:
            raise DocumentError(f"it has more than {self._limit} cells")
