"""Web pages, by Beautiful Soup: headings, paragraphs, tables and preformatted text, without scripts."""

import re
from collections.abc import Iterator
from pathlib import Path

from bs4 import BeautifulSoup
from bs4.element import NavigableString, Tag

from app.documents.reading import CellCount, Limits, Report
from app.documents.text import decoded
from memory.recall.chunks import Block, Code, Heading, Paragraph, Row, Span

_SPACES = re.compile(r"\s+")
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCK_NAMES = (
    "address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption "
    "figure footer form header hr html legend li main nav ol p section summary table tbody td tfoot th thead "
    "tr ul"
)
_BLOCKS = frozenset(_BLOCK_NAMES.split()) | set(_HEADINGS)
_UNSEEN_NAMES = "head script style template noscript svg math iframe object canvas select"
_UNSEEN = frozenset(_UNSEEN_NAMES.split())


def read_html(path: Path, limits: Limits, report: Report) -> Iterator[Block]:
    """Raises DocumentError."""
    soup = BeautifulSoup(decoded(path.read_bytes()), "html.parser")
    report(1, 2)
    yield from _Walk(CellCount(limits)).blocks(soup)
    report(2, 2)


class _Walk:
    """Through a page once, in order. Text belongs to the nearest block that it is in."""

    def __init__(self, count: CellCount) -> None:
        self._count = count
        self._blocks: dict[int, Tag | None] = {}
        self._rows: dict[int, int] = {}
        self._columns: dict[int, tuple[str, ...]] = {}
        self._held: list[str] = []
        self._holder: Tag | None = None

    def blocks(self, soup: BeautifulSoup) -> Iterator[Block]:
        self._blocks[id(soup)] = soup
        for node in soup.descendants:
            block = self._blocks[id(node.parent)]
            if isinstance(node, Tag):
                self._blocks[id(node)] = self._block_of(node, block)
                if block is not None and (whole := self._whole(node)) is not None:
                    yield from self._flush(None)
                    yield from whole
                    self._blocks[id(node)] = None
                elif node.name == "br" and block is not None:
                    self._held.append("\n")
            elif block is not None and type(node) is NavigableString:
                if block is not self._holder:
                    yield from self._flush(block)
                self._held.append(_SPACES.sub(" ", node))
        yield from self._flush(None)

    @staticmethod
    def _block_of(node: Tag, around: Tag | None) -> Tag | None:
        """The block that the texts in a tag belong to; None: they are not shown, or taken already."""
        if around is None or node.name in _UNSEEN or node.has_attr("hidden"):
            return None
        return node if node.name in _BLOCKS else around

    def _whole(self, node: Tag) -> list[Block] | None:
        """What a tag is if it is taken as a whole: preformatted text, or a row of a table."""
        if node.name == "pre":
            text = node.get_text()
            return [Code(text)] if text.strip() else []
        if node.name == "tr" and node.find("table") is None:
            return self._row(node)
        return None

    def _row(self, row: Tag) -> list[Block]:
        table = id(row.find_parent("table"))
        number = self._rows[table] = self._rows.get(table, 0) + 1
        tags = row.find_all(["td", "th"], recursive=False)
        cells = tuple(" ".join(tag.get_text(" ").split()) for tag in tags)
        self._count.add(len(cells))
        if number == 1 and cells and all(tag.name == "th" for tag in tags):
            self._columns[table] = cells
            return []
        return [Row(cells, self._columns.get(table, ()), Span("row", number, number))] if any(cells) else []

    def _flush(self, next_holder: Tag | None) -> Iterator[Block]:
        lines = (" ".join(line.split()) for line in "".join(self._held).split("\n"))
        text = "\n".join(line for line in lines if line)
        if text:
            level = _HEADINGS.get(self._holder.name) if self._holder else None
            yield Heading(text, level) if level else Paragraph(text)
        self._held, self._holder = [], next_holder
