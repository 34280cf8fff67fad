"""Sizes and SHA-256 hashes of a folder's files, recorded when they are written and checked later."""

import hashlib
from pathlib import Path
from typing import TypedDict

from llm.errors import CorruptModelError


class FileRecord(TypedDict):
    bytes: int
    sha256: str


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_files(folder: Path) -> dict[str, FileRecord]:
    """Size and hash of every file under `folder`, by its path there."""
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sizes_match(folder: Path, files: dict[str, FileRecord]) -> bool:
    """Whether the recorded files are there in their sizes: quick, for every start."""
    try:
        return all((folder / name).stat().st_size == file["bytes"] for name, file in files.items())
    except OSError:
        return False


def verify_files(folder: Path, files: dict[str, FileRecord]) -> None:
    """Read every recorded file. Raises CorruptModelError naming the one that is not as recorded."""
    for name, file in files.items():
        path = folder / name
        try:
            found = sha256_of(path)
        except OSError as error:
            raise CorruptModelError(f"{path} cannot be read: {error}") from error
        check_hash(path, found, file["sha256"])


def check_hash(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise CorruptModelError(f"{path} has the SHA-256 {found}, but {expected} was expected")
