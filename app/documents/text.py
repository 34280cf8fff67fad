"""Plain text, Markdown (by markdown-it) and source code."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from charset_normalizer import from_bytes
from markdown_it import MarkdownIt
from markdown_it.token import Token

from app.documents.reading import CellCount, DocumentError, Limits, Report
from memory.recall.chunks import Block, Code, Heading, Paragraph, Row, Span

_SAMPLE_BYTES = 256 * 1024
_FRONT_MATTER = re.compile(r"\A---\n(.*?\n)(?:---|\.\.\.)(?:\n|\Z)", flags=re.DOTALL)
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_text(path: Path, _limits: Limits, _report: Report) -> Iterator[Block]:
    """Raises DocumentError."""
    text = decoded(path.read_bytes())
    yield Paragraph(text, Span("line", 1, text.count("\n") + 1))


def read_code(path: Path, _limits: Limits, _report: Report) -> Iterator[Block]:
    """Raises DocumentError."""
    text = decoded(path.read_bytes())
    yield Code(text, Span("line", 1, text.count("\n") + 1))


def read_markdown(path: Path, limits: Limits, report: Report) -> Iterator[Block]:
    """Raises DocumentError."""
    text = decoded(path.read_bytes())
    skipped = 0
    if front := _FRONT_MATTER.match(text):
        yield Code(front.group(1), Span("line", 2, 1 + front.group(1).count("\n")))
        skipped = front.group().count("\n")
        text = text[front.end() :]
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    count = CellCount(limits)
    columns: tuple[str, ...] = ()
    for at, token in enumerate(tokens):
        if token.type == "tr_open":
            cells = _cells(tokens, at)
            count.add(len(cells))
            if tokens[at - 1].type == "thead_open":
                columns = cells
            else:
                yield Row(cells, columns, _lines(token, skipped))
        elif token.type == "inline" and not tokens[at - 1].type.startswith(("th_", "td_")):
            above = tokens[at - 1]
            if above.type == "heading_open":
                yield Heading(token.content, int(above.tag[1:]), _lines(above, skipped))
            else:
                yield Paragraph(token.content, _lines(token, skipped))
        elif token.type in ("fence", "code_block"):
            lines = _lines(token, skipped)
            fence = lines and Span("line", min(lines.first + 1, lines.last), lines.last)
            yield Code(token.content, fence if token.type == "fence" else lines)
        elif token.type == "html_block":
            yield Paragraph(token.content, _lines(token, skipped))
        report(at + 1, len(tokens))


def decoded(data: bytes) -> str:
    """The text of a file, its lines ended by newlines, in the encoding that it says or seems to be in.

    Raises DocumentError for what is no text.
    """
    text = _decoded(data).replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DocumentError(f"line {line} has a NUL character: it is no text")
    if not text.strip():
        raise DocumentError("it has no text")
    return text


def _decoded(data: bytes) -> str:
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        guess = None if encoding != "utf-8" else from_bytes(data[:_SAMPLE_BYTES]).best()
        if guess is None:
            raise DocumentError(f"line {line} is not text in {encoding} or any other encoding") from error
        return data.decode(guess.encoding, errors="replace")


def _cells(tokens: list[Token], at: int) -> tuple[str, ...]:
    """The cells of the row that begins at that token."""
    cells: list[str] = []
    for token in tokens[at + 1 :]:
        if token.type == "tr_close":
            break
        if token.type == "inline":
            cells.append(token.content)
    return tuple(cells)


def _lines(token: Token, skipped: int) -> Span | None:
    return Span("line", token.map[0] + 1 + skipped, token.map[1] + skipped) if token.map else None
