"""A process that backs up or restores again and again, each time killed one step later, until it is done.

Run with what to do, a folder with the home as it is before each time, and a folder to work in. A step is
whatever touches a file there. Prints one JSON document a time: what is left, after the home has been claimed
again; of a backup also what is restored from it.
"""

import json
import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from app.backup.making import backup
from app.backup.restoring import restore
from app.home import claim_home
from app.settings import Settings

STEPS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "sqlite3.connect"}


def work(what: str, settings: Settings, file: Path, kill_at: int) -> None:
    steps = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal steps
        if event in STEPS and str(settings.home.parent) in str(arguments[0]):
            steps += 1
            if steps == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    if what == "backup":
        backup(settings, file)
    else:
        restore(settings, file, force=True)


def left(home: Path) -> dict[str, Any]:
    with claim_home(home), closing(sqlite3.connect(home / "perdure.sqlite3")) as database:
        titles = [title for (title,) in database.execute("SELECT title FROM sessions ORDER BY title")]
        [(verdict,)] = database.execute("PRAGMA integrity_check").fetchall()
    documents = {path.name: path.read_text() for path in (home / "documents").iterdir()}
    hidden = sorted(path.name for path in home.iterdir() if path.name.startswith("."))
    derived = sorted(name for name in ("recall", "kv") if (home / name).exists())
    return {
        "titles": titles,
        "verdict": verdict,
        "documents": documents,
        "hidden": hidden,
        "derived": derived,
    }


def main(what: str, template: Path, place: Path) -> None:
    kill_at, killed = 0, True
    while killed:
        kill_at += 1
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(template, place)
        settings = Settings(home=place / "home")
        child = os.fork()
        if not child:
            work(what, settings, place / "home.backup", kill_at)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        if not killed and status:
            sys.exit(f"step {kill_at}: it failed")
        print(json.dumps({"killed": killed, **left(settings.home)}), flush=True)
        if what == "backup":
            restored = Settings(home=place / "restored")
            restore(restored, place / "home.backup", force=False)
            backup(settings, place / "home.backup")
            partial = len(list(place.glob(".*.partial")))
            print(json.dumps({"partial": partial, **left(restored.home)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
