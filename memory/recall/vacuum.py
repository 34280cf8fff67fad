"""Rewrites Chroma's database without what was deleted, as a program of its own: `python vacuum.py FILE`.

Chroma brings its own SQLite. Were the file opened by Python's in the same process, closing it would drop the
locks that Chroma holds there, and two could write at once (https://www.sqlite.org/howtocorrupt.html, 2.2.1).
"""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

PATIENCE_S = 30.0
"""How long one who writes at the moment is waited for."""


def vacuum(database: Path) -> set[str]:
    """Have a process rewrite the database; the segments that it knew before. Raises sqlite3.Error."""
    command = [sys.executable, "-I", __file__, str(database)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise sqlite3.OperationalError(done.stderr.strip() or f"{command} ended with {done.returncode}")
    return set(json.loads(done.stdout))


def _main(database: str) -> None:
    with closing(sqlite3.connect(database, isolation_level=None, timeout=PATIENCE_S)) as connection:
        used = [name for (name,) in connection.execute("SELECT id FROM segments")]
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    json.dump(used, sys.stdout)


if __name__ == "__main__":
    try:
        _main(sys.argv[1])
    except sqlite3.Error as error:
        sys.exit(str(error))
