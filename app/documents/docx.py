"""Word files, by python-docx: headings, paragraphs and tables of the body, in order.

Headers, footers, notes, comments and text boxes are left out.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import docx
from docx.table import Table, _Row
from docx.text.paragraph import Paragraph as WordParagraph

from app.documents.reading import CellCount, Limits, Report, reading
from app.documents.zip_check import check_office_file
from memory.recall.chunks import Block, Heading, Paragraph, Row, Span

_HEADING = re.compile(r"heading (\d)", flags=re.IGNORECASE)


def read_docx(path: Path, limits: Limits, report: Report) -> Iterator[Block]:
    """Raises DocumentError."""
    check_office_file(path, "docx", limits)
    with reading("the Word file"):
        document = docx.Document(str(path))
        cells = CellCount(limits)
        total = len(document.element.body)
        for done, part in enumerate(document.iter_inner_content(), start=1):
            if isinstance(part, Table):
                yield from _rows(part, cells)
            elif part.text.strip():
                yield _block(part)
            report(done, total)


def _block(paragraph: WordParagraph) -> Block:
    style = (paragraph.style.name if paragraph.style else None) or ""
    if found := _HEADING.fullmatch(style):
        return Heading(paragraph.text, int(found.group(1)))
    return Heading(paragraph.text, 0) if style == "Title" else Paragraph(paragraph.text)


def _rows(table: Table, count: CellCount) -> Iterator[Row]:
    """The rows of a table under its first, which holds the names; a table of one row has none."""
    columns: tuple[str, ...] = ()
    rows = table.rows
    last = len(rows)
    for number, row in enumerate(rows, start=1):
        cells = _cells(row)
        count.add(len(cells))
        if number == 1 and last > 1 and all(cells):
            columns = cells
        elif any(cells):
            yield Row(cells, columns, Span("row", number, number))


def _cells(row: _Row) -> tuple[str, ...]:
    """The texts of a row; a cell over several columns counts once."""
    texts: list[str] = []
    before = None
    for cell in row.cells:
        if cell._tc is not before:
            texts.append(cell.text.strip())
        before = cell._tc
    return tuple(texts)
