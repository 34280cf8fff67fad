"""Starts the process that reads a file, watches its time, and takes what it says."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

import app
from app.documents.formats import Kind
from app.documents.reading import DocumentError, Limits
from memory.recall.chunks import Piece, Place, Span

log = structlog.get_logger()

_ROOT = Path(app.__file__).parents[1]
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "TZ")
"""The rest of the environment may hold keys, and is not for a process that reads strangers' files."""


@dataclass(frozen=True, slots=True)
class ReadDocument:
    pieces: list[Piece]
    pages: int | None


class Reading:
    """One file being read in a process of its own. `progress` goes from 0 to 1."""

    def __init__(self, path: Path, kind: Kind, limits: Limits) -> None:
        self._path = path
        self._kind = kind
        self._limits = limits
        self._process: subprocess.Popen[str] | None = None
        self._is_stopped = False
        self.progress = 0.0

    def read(self, tokenizer_file: Path) -> ReadDocument:
        """Read the file; pieces are counted by that tokeniser. Blocks. Raises DocumentError."""
        if self._is_stopped or not self._path.exists():
            raise DocumentError("its file is no longer there; upload it again")
        job = {
            "path": str(self._path),
            "kind": self._kind,
            "limits": asdict(self._limits),
            "tokenizer": str(tokenizer_file),
        }
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        with subprocess.Popen(
            [sys.executable, "-m", "app.documents.worker"],
            cwd=_ROOT,
            env=environment | {"PYTHONUTF8": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # as much as a hostile file makes a library say
            encoding="utf-8",
        ) as process:
            self._process = process
            out_of_time = threading.Timer(self._limits.seconds, process.kill)
            out_of_time.daemon = True
            out_of_time.start()
            try:
                return self._listen(process, json.dumps(job))
            finally:
                out_of_time.cancel()
                process.kill()

    def stop(self) -> None:
        """End the process; `read` raises."""
        self._is_stopped = True
        if self._process is not None:
            self._process.kill()

    def _listen(self, process: "subprocess.Popen[str]", job: str) -> ReadDocument:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(job)
        process.stdin.close()
        pieces: list[Piece] = []
        for line in process.stdout:
            said: dict[str, Any] = json.loads(line)
            if "piece" in said:
                pieces.append(_piece(said["piece"]))
            elif "refused" in said:
                raise DocumentError(said["refused"])
            elif "end" in said:
                return ReadDocument(pieces, said["end"]["pages"])
            else:
                self.progress = min(1.0, said["done"] / max(said["of"], 1))
        code = process.wait()
        log.warning("the reader of a document ended early", code=code, stopped=self._is_stopped)
        if code in (-signal.SIGKILL, -signal.SIGXCPU):
            raise DocumentError(f"reading it takes more than {self._limits.seconds} s")
        raise DocumentError(
            f"reading it takes more than {self._limits.memory_mb} MiB of memory, or is broken"
        )


def _piece(said: dict[str, Any]) -> Piece:
    span = said["span"]
    return Piece(said["text"], Place(tuple(said["headings"]), Span(**span) if span else None))
