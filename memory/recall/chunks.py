"""Documents in pieces of a bounded size, cut where their structure allows it, each with the place it is from.

A document is a sequence of blocks; reading files into blocks is left to others. Nothing of a block is lost or
put elsewhere: the texts of its pieces follow each other as they stood.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from memory.recall.cutting import code_units, cut_text

MAX_HEADING = 120
"""Characters that are kept of a heading."""
CHARACTERS_PER_TOKEN = 12
"""What a token stands for at most, here: a tokeniser may take a long line without spaces for one word."""

Unit = Literal["page", "line", "row"]


@dataclass(frozen=True, slots=True)
class Span:
    """From which to which page, line or row, both included, counted from 1."""

    unit: Unit
    first: int
    last: int

    def __str__(self) -> str:
        if self.first == self.last:
            return f"{self.unit} {self.first}"
        return f"{self.unit}s {self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Heading:
    """Begins a section; `level` 1 is the outermost."""

    text: str
    level: int
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Text that belongs together. If `span` is of lines, it has them all."""

    text: str
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table; `columns` are the names of its cells, if they have any."""

    cells: tuple[str, ...]
    columns: tuple[str, ...] = ()
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Code:
    """Text whose lines and indentation matter. If `span` is of lines, it has them all."""

    text: str
    span: Span | None = None


Block = Heading | Paragraph | Row | Code


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a document something stands: the headings above it, outermost first, and the span."""

    headings: tuple[str, ...] = ()
    span: Span | None = None

    def __str__(self) -> str:
        return ", ".join(filter(None, (" > ".join(self.headings), str(self.span) if self.span else "")))


@dataclass(frozen=True, slots=True)
class Piece:
    """What is indexed and recalled as one."""

    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class _Part:
    """A bit of a piece; `glue` stands between it and the part before."""

    text: str
    glue: str
    span: Span | None


def chunk(blocks: Iterable[Block], count: Callable[[str], int], max_tokens: int) -> Iterator[Piece]:
    """The pieces of a document, in order, each of at most `max_tokens` by `count`.

    Pieces end with sections and pages. A table is cut between rows and its column names are repeated; code is
    cut before definitions and at blank lines; text between paragraphs, then lines, then sentences.
    """

    def size(text: str) -> int:
        return max(count(text), -(-len(text) // CHARACTERS_PER_TOKEN))

    for (headings, kind, columns, _), group in groupby(_under_headings(blocks), key=_section):
        run = (block for _, block in group)
        head = _line(columns)
        if kind is Row and size(head) > max_tokens // 3:
            head = ""
        room = max_tokens - (size(head + "\n") if head else 0)
        parts = (part for block in run for part in _parts(block, size, room, has_head=bool(head)))
        for text, span in _packed(parts, size, room):
            yield Piece(f"{head}\n{text}" if head else text, Place(headings, span))


def _under_headings(blocks: Iterable[Block]) -> Iterator[tuple[tuple[str, ...], Block]]:
    """Each block with the headings above it. A heading with nothing under it is a paragraph of its own."""
    path: list[Heading] = []
    bare: Heading | None = None

    def titles() -> tuple[str, ...]:
        return tuple(" ".join(heading.text.split())[:MAX_HEADING] for heading in path)

    for block in blocks:
        if not isinstance(block, Heading):
            bare = None
            yield titles(), block
        elif block.text.strip():
            if bare and bare.level >= block.level:
                yield titles(), Paragraph(bare.text, bare.span)
            path = [heading for heading in path if heading.level < block.level]
            path.append(block)
            bare = block
    if bare:
        yield titles(), Paragraph(bare.text, bare.span)


def _section(each: tuple[tuple[str, ...], Block]) -> tuple[tuple[str, ...], type, tuple[str, ...], object]:
    """What blocks have in common that may stand in one piece."""
    headings, block = each
    unit = block.span.unit if block.span else None
    page = block.span.first if block.span and unit == "page" else None
    return headings, type(block), block.columns if isinstance(block, Row) else (), (unit, page)


def _parts(block: Block, size: Callable[[str], int], room: int, *, has_head: bool) -> Iterator[_Part]:
    """The block in parts of at most `room` tokens; those of one block stand behind each other as they are."""
    if isinstance(block, Row):
        line = _line(block.cells)
        if (block.columns and not has_head) or size(line) > room:
            line = _named_cells(block)
        units = cut_text(line, size, room)
        yield from (_Part(text, "" if i else "\n", block.span) for i, text in enumerate(units))
        return
    units = (
        code_units(block.text, size, room) if isinstance(block, Code) else cut_text(block.text, size, room)
    )
    line_number = block.span.first if block.span else 0
    for i, text in enumerate(units):
        span = block.span
        if span and span.unit == "line":
            behind = line_number + text.count("\n")
            span = Span("line", line_number, max(line_number, behind - text.endswith("\n")))
            line_number = behind
        yield _Part(text, "" if i else "\n\n", span)


def _packed(
    parts: Iterable[_Part], size: Callable[[str], int], room: int
) -> Iterator[tuple[str, Span | None]]:
    """As many parts together as there is room for."""
    held: list[_Part] = []
    held_size = 0
    for part in parts:
        part_size = size(part.text)
        if held and held_size + part_size > room:
            yield from _joined(held, size, room)
            held, held_size = [], 0
        held.append(part)
        held_size += part_size
    yield from _joined(held, size, room)


def _joined(
    parts: Sequence[_Part], size: Callable[[str], int], room: int
) -> Iterator[tuple[str, Span | None]]:
    """The parts as one text; as several, if they are larger together than the sum of them."""
    text = "".join(part.glue + part.text for part in parts)
    text = text.strip("\n").rstrip()
    if not text.strip():
        return
    if len(parts) > 1 and size(text) > room:
        middle = len(parts) // 2
        yield from _joined(parts[:middle], size, room)
        yield from _joined(parts[middle:], size, room)
        return
    said = [part.span for part in parts if part.span and part.text.strip()]
    yield text, Span(said[0].unit, said[0].first, said[-1].last) if said else None


def _line(cells: Sequence[str]) -> str:
    return " | ".join(" ".join(cell.split()) for cell in cells)


def _named_cells(row: Row) -> str:
    """A row that is too wide for a line, or whose columns are: a line for each cell."""
    names = (*row.columns, *[""] * (len(row.cells) - len(row.columns)))
    pairs = zip(names, row.cells, strict=False)
    return "\n".join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell.strip())
