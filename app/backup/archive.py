"""The file of a backup: a ZIP container with a manifest that says what is in it, from when and how large,
with a SHA-256 of each.

It holds the database and the documents that are still to be read. Indexes, cached keys and values and
models are left out: the first two are made anew, the last fetched.
"""

import errno
import hashlib
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from app.settings import Settings

FORMAT = 1
MANIFEST = "manifest.json"
DATABASE = "perdure.sqlite3"
DOCUMENTS = "documents"
_NAME = re.compile(rf"{re.escape(DATABASE)}|{DOCUMENTS}/\w+")
_CHUNK = 2**20
MOST_MANIFEST_BYTES = 16 * 2**20
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    ValueError,
    OverflowError,
    RuntimeError,
)
"""What reading a damaged container raises."""


class BackupError(Exception):
    """A backup cannot be made or used; the message says which and why."""


def check_all_is_at_home(settings: Settings) -> None:
    """Raise BackupError if what is said is stored elsewhere than in the home folder."""
    if settings.database_url is not None:
        raise BackupError(
            "what is said is stored in PostgreSQL (PERDURE_DATABASE_URL); pg_dump backs it up, "
            "and pg_restore puts it back"
        )


class FileEntry(BaseModel):
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """`perdure`: the version that made it; `revision`: of the database's schema."""

    format: Literal[1]
    perdure: str
    revision: str
    made_at: datetime
    files: dict[str, FileEntry]


def write_archive(folder: Path, path: Path, *, perdure: str, revision: str, made_at: datetime) -> Manifest:
    """Pack what stands in `folder`, under its names there."""
    manifest = Manifest(format=FORMAT, perdure=perdure, revision=revision, made_at=made_at, files={})
    names = [DATABASE, *(f"{DOCUMENTS}/{each.name}" for each in sorted((folder / DOCUMENTS).iterdir()))]
    path.touch(mode=0o600, exist_ok=False)  # what was said is for the user alone
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in names:
            manifest.files[name] = _put(archive, folder / name, name)
        archive.writestr(MANIFEST, manifest.model_dump_json(indent=2))
    return manifest


def open_archive(path: Path) -> tuple[zipfile.ZipFile, Manifest]:
    """A backup and what it says of itself. Raises BackupError, and OSError if it cannot be read."""
    with _damage_told(f"{path} is not a backup of Perdure, or is damaged"):
        archive = zipfile.ZipFile(path)
        return archive, _manifest(archive)


def unpack(archive: zipfile.ZipFile, manifest: Manifest, folder: Path) -> None:
    """Write all files of a backup into `folder`. Raises BackupError if one is not what the manifest says."""
    (folder / DOCUMENTS).mkdir(mode=0o700)
    if DATABASE not in manifest.files:
        raise BackupError("the backup is damaged: it has no database")
    for name, entry in manifest.files.items():
        if _NAME.fullmatch(name) is None:
            raise BackupError(f"the backup names a file that none has: {name!r}")
        with _damage_told(f"the backup is damaged: {name}"):
            is_whole = _take(archive, name, entry, folder / name)
        if not is_whole:
            raise BackupError(f"the backup is damaged: {name} is not what was backed up")


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _damage_told(what: str) -> Iterator[None]:
    """Say of what reading raises on a damaged container that this is damaged."""
    try:
        yield
    except _DAMAGE as error:
        raise BackupError(f"{what}: {error}") from error
    except OSError as error:
        if (
            error.errno != errno.EINVAL
        ):  # which is a place before the file's beginning; others are of the disk
            raise
        raise BackupError(f"{what}: {error}") from error


def _take(archive: zipfile.ZipFile, name: str, entry: FileEntry, path: Path) -> bool:
    """Unpack a file; whether it is what the manifest says."""
    digest, left = hashlib.sha256(), entry.bytes
    with archive.open(name) as source, path.open("xb") as target:
        while chunk := source.read(min(_CHUNK, left + 1)):
            digest.update(chunk)
            left -= len(chunk)
            if left < 0:
                return False
            target.write(chunk)
    return left == 0 and digest.hexdigest() == entry.sha256


def _manifest(archive: zipfile.ZipFile) -> Manifest:
    if archive.getinfo(MANIFEST).file_size > MOST_MANIFEST_BYTES:
        raise BackupError("the backup is damaged: its manifest is too large")
    text = archive.read(MANIFEST)
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        if b'"format"' in text and b'"perdure"' in text:
            raise BackupError(
                "the backup has a form that this version of Perdure does not read; use a newer one"
            ) from error
        raise


def _put(archive: zipfile.ZipFile, source: Path, name: str) -> FileEntry:
    with source.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        content.seek(0)
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(info, "w", force_zip64=True) as target:
            shutil.copyfileobj(content, target, _CHUNK)
    return FileEntry(bytes=source.stat().st_size, sha256=digest)
