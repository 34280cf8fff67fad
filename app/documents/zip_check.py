"""Office files are ZIP containers of XML: here they are looked at before any library opens them.

Refused are those that would unpack to too much (https://www.bamsoftware.com/hacks/zipbomb/), whose entries
share bytes, that are encrypted, or whose XML declares a document type, as only attacks with entities do.
Archives inside them are never opened.
"""

import zipfile
from pathlib import Path
from typing import IO
from xml.parsers import expat

from app.documents.reading import DocumentError, Limits

MAX_ENTRIES = 10_000
MAX_DIRECTORY_BYTES = 4 * 2**20
MAX_RATIO = 200
"""Times that an entry may grow when it is unpacked; XML of tables grows by some 10 to 50."""
SMALL = 2**20
"""Bytes up to which the ratio does not matter."""
_LOCAL_HEADER_BYTES = 30
_ENCRYPTED = 0x1
_CHUNK = 65536

MAIN_PARTS = {"docx": "word/document.xml", "xlsx": "xl/workbook.xml"}
_NAMES = {"ppt/presentation.xml": "a presentation", **{part: kind for kind, part in MAIN_PARTS.items()}}


def check_office_file(path: Path, kind: str, limits: Limits) -> None:
    """Raises DocumentError for a container that must not be opened, or that holds something else."""
    try:
        _check_directory_size(path)
        with zipfile.ZipFile(path) as container:
            entries = container.infolist()
            _check_entries(entries, path.stat().st_size, limits)
            names = {entry.filename for entry in entries}
            if MAIN_PARTS[kind] not in names:
                inside = next((what for part, what in _NAMES.items() if part in names), "some other archive")
                raise DocumentError(f"its name says .{kind}, but its content is {inside}")
            for entry in entries:
                if entry.filename.endswith((".xml", ".rels", ".vml")):
                    with container.open(entry) as part:
                        _check_no_document_type(part, entry.filename)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, OSError) as error:
        raise DocumentError(f"its ZIP container is broken: {error}") from error


def _check_directory_size(path: Path) -> None:
    """The directory is read whole by zipfile, so it is bounded before."""
    with path.open("rb") as file:
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # there is no public way
    if end is None:
        raise DocumentError("its ZIP container is broken: it has no end, so the file may be cut off")
    if end[5] > MAX_DIRECTORY_BYTES or end[4] > MAX_ENTRIES:
        raise DocumentError(f"its ZIP container has too large a directory ({end[4]} entries)")


def _check_entries(entries: list[zipfile.ZipInfo], file_bytes: int, limits: Limits) -> None:
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > limits.unpacked_mb * 2**20:
        raise DocumentError(
            f"its ZIP container unpacks from {file_bytes} bytes to {unpacked}, more than the "
            f"{limits.unpacked_mb} MiB that are allowed"
        )
    end, before = 0, ""
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.flag_bits & _ENCRYPTED:
            raise DocumentError(f"{entry.filename!r} in it is encrypted")
        if entry.file_size > SMALL and entry.file_size > MAX_RATIO * entry.compress_size:
            raise DocumentError(
                f"{entry.filename!r} in it unpacks from {entry.compress_size} bytes to {entry.file_size}"
            )
        if entry.header_offset < end:
            raise DocumentError(f"{before!r} and {entry.filename!r} in it share bytes")
        end = entry.header_offset + _LOCAL_HEADER_BYTES + len(entry.orig_filename) + entry.compress_size
        before = entry.filename


def _check_no_document_type(part: IO[bytes], name: str) -> None:
    parser = expat.ParserCreate()
    reached_root = False

    def refuse(*_: object) -> None:
        raise DocumentError(f"{name!r} in it declares a document type, which Office files never do")

    def stop(*_: object) -> None:
        nonlocal reached_root
        reached_root = True

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = stop
    try:
        while not reached_root and (chunk := part.read(_CHUNK)):
            parser.Parse(chunk, False)
    except expat.ExpatError as error:
        raise DocumentError(f"{name!r} in it is broken XML: {error}") from error
