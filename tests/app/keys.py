"""How the tests make keys: with the very command."""

import os
import subprocess
import sys
from pathlib import Path

import httpx


def perdure_keys(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `perdure keys` on a home folder."""
    return subprocess.run(
        [sys.executable, "-c", "from app.cli.main import cli; cli()", "keys", *arguments],
        env={**os.environ, "PERDURE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def new_key(home: Path, *arguments: str) -> str:
    """The secret of a new key."""
    done = perdure_keys(home, "create", "test", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def with_key(client: httpx.Client, secret: str) -> httpx.Client:
    """A client of the same service that gives that key."""
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx.Client(base_url=client.base_url, headers=headers, timeout=120)
