"""Tables: Excel files, by openpyxl, as the values that were saved in them, and CSV files."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, time
from pathlib import Path

import openpyxl

from app.documents.reading import CellCount, DocumentError, Limits, Report, reading
from app.documents.text import decoded
from app.documents.zip_check import check_office_file
from memory.recall.chunks import Block, Heading, Row, Span

_SAMPLE_ROWS = 20
_DELIMITERS = ",;\t|"


def read_xlsx(path: Path, limits: Limits, report: Report) -> Iterator[Block]:
    """Raises DocumentError."""
    check_office_file(path, "xlsx", limits)
    count = CellCount(limits)
    with path.open("rb") as file:
        with reading("the workbook"):
            book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
        total = len(book.worksheets)
        for done, sheet in enumerate(book.worksheets, start=1):
            with reading(f"sheet {sheet.title!r}"):
                # What a file says of its size may be anything.
                sheet.reset_dimensions()
                yield Heading(sheet.title, 1)
                yield from _rows((map(_text, row) for row in sheet.iter_rows(values_only=True)), count)
            report(done, total)


def read_csv(path: Path, limits: Limits, report: Report) -> Iterator[Block]:
    """Raises DocumentError."""
    text = decoded(path.read_bytes())
    lines = text.splitlines(keepends=True)
    reader = csv.reader(lines, delimiter=_delimiter(lines), strict=True)
    csv.field_size_limit(limits.characters)

    def rows() -> Iterator[Sequence[str]]:
        try:
            for row in reader:
                report(reader.line_num, len(lines))
                yield row
        except csv.Error as error:
            raise DocumentError(f"line {reader.line_num} is not proper CSV: {error}") from error

    yield from _rows(rows(), CellCount(limits))


def _delimiter(lines: Sequence[str]) -> str:
    """The one that gives the first rows the most cells."""

    def cells(delimiter: str) -> int:
        try:
            rows = [row for row in csv.reader(lines[:_SAMPLE_ROWS], delimiter=delimiter) if row]
        except csv.Error:
            return 0
        return min((len(row) for row in rows), default=0)

    return max(_DELIMITERS, key=cells)


def _rows(rows: Iterable[Iterable[str]], count: CellCount) -> Iterator[Row]:
    """The rows that have anything in them. The first, if it is all words, names the columns."""
    columns: tuple[str, ...] | None = None
    header: Row | None = None
    for number, row in enumerate(rows, start=1):
        cells = _without_empty_end(row)
        count.add(len(cells))
        if not cells:
            continue
        if columns is None:
            columns = cells if all(cell and not _is_number(cell) for cell in cells) else ()
            if columns:
                header = Row(cells, (), Span("row", number, number))
                continue
        header = None
        yield Row(cells, columns, Span("row", number, number))
    if header:
        yield header


def _without_empty_end(cells: Iterable[str]) -> tuple[str, ...]:
    texts = [cell.strip() for cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    return tuple(texts)


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return value.isoformat(" ") if isinstance(value, datetime) else str(value)
