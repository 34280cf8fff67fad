"""`perdure backup` and `perdure restore`: the home folder into one file, and back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.cli.progress import stage_progress
from app.settings import Settings


def backup_home(
    target: Annotated[
        Path, typer.Argument(metavar="FILE|FOLDER", help="A file, or a folder to put one in by the time.")
    ],
) -> None:
    """Back up all that was said, personas and documents, also while the service runs.

    Models are not in it, nor indexes and caches, which are made anew.
    """
    from app.backup.making import backup

    with _explained(), stage_progress() as progress:
        path, manifest = backup(Settings(), target, progress)
    size = path.stat().st_size / 2**20
    Console(soft_wrap=True).print(
        f"{path}  {size:.1f} MiB, schema {manifest.revision}", highlight=False, markup=False
    )


def restore_home(
    file: Annotated[Path, typer.Argument(help="A backup.")],
    force: Annotated[bool, typer.Option("--force", help="In the place of what is in the home now.")] = False,
) -> None:
    """Put a backup into the home folder, all of it or nothing. No service may be running there."""
    from app.backup.restoring import restore

    settings = Settings()
    with _explained(), stage_progress() as progress:
        manifest = restore(settings, file, force=force, progress=progress)
    Console(soft_wrap=True).print(
        f"{settings.home} is as it was at {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC; "
        "what is searched is indexed again when the service starts.",
        highlight=False,
        markup=False,
    )


@contextmanager
def _explained() -> Iterator[None]:
    """A disk that is full or a file that cannot be read is said in a line, not in a traceback."""
    from app.backup.archive import BackupError

    try:
        yield
    except OSError as error:
        raise BackupError(str(error)) from error
