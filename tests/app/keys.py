"""How the tests make keys: with the very command."""

from pathlib import Path

import httpx
from typer.testing import CliRunner, Result

from app.cli.main import app


def perdure_keys(home: Path, *arguments: str) -> Result:
    """`perdure keys` on a home folder."""
    return CliRunner().invoke(app, ["keys", *arguments], env={"PERDURE_HOME": str(home)})


def new_key(home: Path, *arguments: str) -> str:
    """The secret of a new key."""
    done = perdure_keys(home, "create", "test", *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def with_key(client: httpx.Client, secret: str) -> httpx.Client:
    """A client of the same service that gives that key."""
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx.Client(base_url=client.base_url, headers=headers, timeout=120)
