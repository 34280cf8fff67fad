"""The formats of documents, told apart by name and by content: both must say the same."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from app.documents.reading import DocumentError

Kind = Literal["pdf", "docx", "xlsx", "csv", "html", "markdown", "text", "code"]
Container = Literal["PDF", "ZIP", "text"]


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of document; `container` is what its bytes are."""

    kind: Kind
    container: Container
    media_type: str


_OFFICE = "application/vnd.openxmlformats-officedocument"
PDF = Format("pdf", "PDF", "application/pdf")
DOCX = Format("docx", "ZIP", f"{_OFFICE}.wordprocessingml.document")
XLSX = Format("xlsx", "ZIP", f"{_OFFICE}.spreadsheetml.sheet")
CSV = Format("csv", "text", "text/csv")
HTML = Format("html", "text", "text/html")
MARKDOWN = Format("markdown", "text", "text/markdown")
TEXT = Format("text", "text", "text/plain")
CODE = Format("code", "text", "text/x-code")

_CODE_SUFFIXES = (
    "bash c cc cfg clj conf cpp cs css cxx dart el erl ex exs f90 go gradle graphql h hpp hs ini java jl js "
    "json json5 jsonl jsx kt kts less lisp lua m ml mjs nim nix php pl pm proto ps1 py pyi r rb rs sass "
    "scala scm scss sh sql svelte swift tcl tf toml ts tsx v vb vue xml yaml yml zig zsh"
)
FORMATS: dict[str, Format] = {
    ".pdf": PDF,
    ".docx": DOCX,
    ".xlsx": XLSX,
    ".csv": CSV,
    ".tsv": CSV,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".txt": TEXT,
    ".text": TEXT,
    ".log": TEXT,
    ".rst": TEXT,
} | {f".{suffix}": CODE for suffix in _CODE_SUFFIXES.split()}

_OLD = {".doc": ".docx", ".rtf": ".docx", ".odt": ".docx", ".xls": ".xlsx", ".ods": ".xlsx"}

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "ZIP"),
    (b"PK\x05\x06", "ZIP"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or a password-protected Office file"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"{\\rtf", "RTF"),
)
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")

HEAD_BYTES = 4096
"""How much of a file `detect` wants to see."""


class UnknownFormatError(Exception):
    """The name of a file is not that of a format that is read."""


def format_of_name(name: str) -> Format:
    """Raises UnknownFormatError."""
    suffix = PurePath(name).suffix.lower()
    if suffix in _OLD:
        raise UnknownFormatError(f"{suffix} is not read; save it as {_OLD[suffix]}")
    if suffix not in FORMATS:
        said = f"{suffix} is not read" if suffix else "the name has no suffix that says what it is"
        raise UnknownFormatError(
            f"{said}; read are .pdf, .docx, .xlsx, .csv, .tsv, .html, .md, .txt and source code"
        )
    return FORMATS[suffix]


def detect(name: str, head: bytes) -> Format:
    """The format that the name and the first bytes of a file agree on.

    Raises UnknownFormatError for the name, DocumentError for a content that is something else.
    """
    named = format_of_name(name)
    if not head:
        raise DocumentError("it is empty")
    found = _container(head)
    if found != named.container:
        raise DocumentError(f"its name says {PurePath(name).suffix.lower()}, but its content is {found}")
    return named


def _container(head: bytes) -> str:
    for signature, what in _SIGNATURES:
        if head.startswith(signature):
            return what
    # Readers of PDF accept some bytes before its header (ISO 32000-1, appendix H.3.4.1).
    if b"%PDF-" in head[:1024] and (head.startswith(b"%PDF-") or b"\0" in head or b"obj" in head):
        return "PDF"
    if b"\0" in head and not head.startswith(_BYTE_ORDER_MARKS):
        return "binary"
    return "text"
