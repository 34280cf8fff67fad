"""The home folder: all that the service stores, used by one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class HomeInUseError(Exception):
    """Another process serves from this home folder."""


@contextmanager
def claim_home(home: Path) -> Iterator[None]:
    """Make the home folder, readable by its user only, and hold it until the end of the block.

    Raises HomeInUseError if another process holds it.
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
        yield
    finally:
        lock.release()
