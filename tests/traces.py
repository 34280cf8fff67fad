"""What files hold of a word, looked for by a process of its own.

A process that opens and closes a file of an open SQLite database loses the locks that it has there
(https://www.sqlite.org/howtocorrupt.html, 2.2).
"""

import subprocess
from pathlib import Path


def files_with(folder: Path, word: str) -> list[str]:
    """The files below a folder that have the word, its ASCII letters in any case, but for those of models."""
    command = ["grep", "-rlaiF", "--exclude-dir=models", "--", word, "."]
    found = subprocess.run(
        command, cwd=folder, env={"LC_ALL": "C"}, check=False, capture_output=True, text=True
    )
    assert found.returncode in {0, 1}, found.stderr
    return found.stdout.splitlines()
