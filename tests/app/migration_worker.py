"""A process that brings an old database up to date, each time killed some statements later, until it is done.

Run with a database of an old version, a folder to work in, and how many statements later each kill comes.
Prints a line for each time: the version that is left, and whether the next migration then goes through.
"""

import os
import shutil
import signal
import sys
from itertools import count
from pathlib import Path
from typing import Any

from alembic.migration import MigrationContext
from sqlalchemy import Engine, event

from app.storage.database import backend_of, migrate


def migrate_and_die(path: Path, at: int) -> None:
    statements = count(1)

    def die(*_: Any) -> None:
        if next(statements) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", die)
    migrate(path)


def version(path: Path) -> str | None:
    engine = backend_of(path).blocking_engine()
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    engine.dispose()
    return found


def main(old: Path, place: Path, every: int) -> None:
    for at in count(1, every):
        path = place / f"{at}.sqlite3"
        shutil.copy(old, path)
        child = os.fork()
        if not child:
            migrate_and_die(path, at)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        left = version(path)
        migrate(path)
        print(left, version(path), flush=True)
        if not os.WIFSIGNALED(status):
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
