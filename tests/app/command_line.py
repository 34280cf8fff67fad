"""The command line as a user types it, in this process."""

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.cli.main import cli

PERDURE = str(Path(sys.executable).parent / "perdure")


def perdure(*arguments: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """By the entry point of `perdure`. What services here log meanwhile is not of the command."""
    stdout, stderr = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        pytest.MonkeyPatch.context() as patched,
        capture_logs(),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        patched.setattr("sys.argv", [PERDURE, *arguments])
        patched.setattr("sys.stdin", io.StringIO(typed))
        for name, value in ({"COLUMNS": "120"} | environment).items():
            patched.setenv(name, value)
        try:
            cli()
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int | None), code
    return subprocess.CompletedProcess(arguments, code or 0, stdout.getvalue(), stderr.getvalue())
