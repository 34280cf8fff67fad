"""Making a backup, while the service runs or not: consistent, and under its name only when it is whole."""

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp

from app import __version__
from app.backup.archive import (
    DATABASE,
    DOCUMENTS,
    BackupError,
    Manifest,
    check_all_is_at_home,
    sync,
    write_archive,
)
from app.settings import Settings
from llm.progress import Progress, silent

TRIES = 5
BUSY_TIMEOUT_S = 30.0
SUFFIX = ".backup"


def backup(settings: Settings, target: Path, progress: Progress = silent) -> tuple[Path, Manifest]:
    """Back the home folder up into `target`, a file, or a folder where a file named by the time is made.

    Blocks. Nobody else is kept from reading or writing. Raises BackupError, and OSError if a file cannot be
    read or written: then `target` is as it was.
    """
    check_all_is_at_home(settings)
    if not settings.database_path.is_file():
        raise BackupError(f"there is nothing to back up: no {settings.database_path}")
    made_at = datetime.now(UTC)
    if target.is_dir():
        target /= f"perdure-{made_at:%Y%m%dT%H%M%SZ}{SUFFIX}"
    if not target.parent.is_dir():
        raise BackupError(f"there is no folder {target.parent}")
    with _workplace(target) as folder:
        progress("copying the database", 0, 2)
        revision = _copy(settings, folder)
        progress("packing", 1, 2)
        packed = folder / "packed"
        manifest = write_archive(folder, packed, perdure=__version__, revision=revision, made_at=made_at)
        sync(packed)
        packed.replace(target)
        sync(target.parent)
        progress("packing", 2, 2)
    return target, manifest


def _copy(settings: Settings, folder: Path) -> str:
    """Copy the database, and the files of all documents that it says are still to be read; its revision.

    Such a file is there from before it is noted in the database until after it is noted as read: of those
    that were there before or after the copy, only one that came and went meanwhile is missed.
    """
    documents = folder / DOCUMENTS
    documents.mkdir(mode=0o700)
    for _ in range(TRIES):
        _copy_documents(settings.documents_folder, documents)
        (folder / DATABASE).unlink(missing_ok=True)
        _copy_database(settings.database_path, folder / DATABASE)
        _copy_documents(settings.documents_folder, documents)
        revision, wanted = _look_into(folder / DATABASE)
        here = {path.name for path in documents.iterdir()}
        if wanted <= here:
            for name in here - wanted:
                (documents / name).unlink()
            return revision
    raise BackupError("documents come and go too fast to be backed up just now")


def _copy_database(source: Path, copy: Path) -> None:
    """By SQLite's online backup (https://www.sqlite.org/backup.html), in one step: one state of it, however
    much is being written.
    """
    address = f"{source.absolute().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S)) as database,
        closing(sqlite3.connect(copy)) as target,
    ):
        try:
            database.backup(target)
            # The copy says that it has a log; without one, it is a single file.
            target.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.Error as error:
            raise BackupError(f"{source} cannot be copied: {error}") from error
    copy.chmod(0o600)


def _look_into(copy: Path) -> tuple[str, set[str]]:
    """The schema's revision, and the documents that are still to be read. Raises BackupError."""
    with closing(sqlite3.connect(copy)) as database:
        try:
            [(verdict,)] = database.execute("PRAGMA quick_check(1)").fetchall()
            if verdict != "ok":
                raise BackupError(f"the database is damaged: {verdict}")
            [(revision,)] = database.execute("SELECT version_num FROM alembic_version").fetchall()
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            if "documents" not in tables:
                return revision, set()
            unread = database.execute("SELECT id FROM documents WHERE status = 'processing'").fetchall()
        except (sqlite3.Error, ValueError) as error:
            raise BackupError(f"the database is not one of Perdure: {error}") from error
    return revision, {name for (name,) in unread}


def _copy_documents(folder: Path, copies: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if not (copies / path.name).exists():
            try:
                shutil.copyfile(path, copies / path.name)
            except FileNotFoundError:
                (copies / path.name).unlink(missing_ok=True)  # it has been read meanwhile


@contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """A folder beside the target, gone at the end. What killed backups of it have left goes too."""
    for left in target.parent.glob(f".{_escaped(target.name)}.*.partial"):
        found = re.fullmatch(
            r"(\d+)-\w+", left.name.removeprefix(f".{target.name}.").removesuffix(".partial")
        )
        if found and not _is_alive(int(found[1])):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(mkdtemp(prefix=f".{target.name}.{os.getpid()}-", suffix=".partial", dir=target.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
