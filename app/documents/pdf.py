"""PDF files, by pypdf: the text of each page."""

import re
from collections.abc import Iterator
from pathlib import Path

from pypdf import PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError

from app.documents.reading import DocumentError, Limits, Report, reading
from memory.recall.chunks import Block, Paragraph, Span

_HYPHENATED = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_A-Z])")
_WRAPPED = re.compile(r"(?<=[^\s.!?:;])\n(?=[a-z(])")


def read_pdf(path: Path, limits: Limits, report: Report) -> Iterator[Block]:
    """Raises DocumentError."""
    reader = _open(path)
    pages = len(reader.pages)
    if pages > limits.pages:
        raise DocumentError(f"it has {pages} pages, more than {limits.pages}")
    found = False
    for number in range(1, pages + 1):
        with reading(f"page {number} of {pages}"):
            text = reader.pages[number - 1].extract_text().strip()
        if text:
            found = True
            yield Paragraph(_unwrapped(text), Span("page", number, number))
        report(number, pages)
    if not found:
        raise DocumentError(f"none of its {pages} pages has text; scanned ones need text recognition first")


def _open(path: Path) -> PdfReader:
    with reading("the PDF"):
        try:
            reader = PdfReader(path)
            if reader.is_encrypted and not reader.decrypt(""):
                raise DocumentError("it is encrypted with a password")
            len(reader.pages)
        except (DependencyError, FileNotDecryptedError) as error:
            raise DocumentError("it is encrypted") from error
        return reader


def _unwrapped(text: str) -> str:
    """The text with words and sentences whole that the layout had broken over lines."""
    return _WRAPPED.sub(" ", _HYPHENATED.sub("", text))
