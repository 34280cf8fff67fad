"""The home folder: all that the service stores, used by one process at a time."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

RESTORED = ".restore"
"""A folder with what a backup held, complete, that is to take the place of what is in the home."""
PARTIAL = f"{RESTORED}.partial"
"""The same before it is complete."""
DATABASE = "perdure.sqlite3"
LOGS = (f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal")
DERIVED = ("recall", "kv")
ID = "id"
"""A file with the name of the home in a database that several share."""


class HomeInUseError(Exception):
    """Another process serves from this home folder."""


@contextmanager
def claim_home(home: Path) -> Iterator[None]:
    """Make the home folder, readable by its user only, and hold it until the end of the block.

    A backup that was being put there when its process was killed is put there first. Raises HomeInUseError
    if another process holds it.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(home / "perdure.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise HomeInUseError(
            f"another Perdure process uses {home}; stop it, or name another folder with PERDURE_HOME"
        ) from None
    try:
        finish_restore(home)
        yield
    finally:
        lock.release()


def home_id(home: Path) -> str:
    """The name of a home that this process holds; given when it is first asked for."""
    path = home / ID
    if not path.is_file():
        partial = home / f"{ID}.partial"
        partial.write_text(secrets.token_hex(16), encoding="ascii")
        partial.replace(path)
    return path.read_text(encoding="ascii")


def has_copies(home: Path) -> bool:
    """Whether anything that is derived from a database lies there."""
    return any(path.is_file() for name in DERIVED for path in (home / name).rglob("*"))


def finish_restore(home: Path) -> None:
    """Move what stands in the folder `RESTORED` to its place. Cut off anywhere, it can be done again."""
    _remove(home / PARTIAL)
    restored = home / RESTORED
    if not restored.is_dir():
        return
    # What is derived from the old database first, and the old log before the new database: SQLite would
    # apply it to that one (https://www.sqlite.org/howtocorrupt.html, 1.4).
    for name in DERIVED:
        _remove(home / name)
    if (restored / "documents").is_dir():
        _remove(home / "documents")
        (restored / "documents").replace(home / "documents")
    if (restored / DATABASE).is_file():
        for name in LOGS:
            (home / name).unlink(missing_ok=True)
        (restored / DATABASE).replace(home / DATABASE)
    _remove(restored)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
