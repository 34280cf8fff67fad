"""`perdure homes`: the home folders of several processes on one PostgreSQL database."""

from typing import Annotated

import typer

from app.cli.database import in_database
from app.settings import Settings

homes = typer.Typer(help="Home folders of processes that share a PostgreSQL database.", no_args_is_help=True)


@homes.command("list")
def list_homes() -> None:
    """List all homes, and how many deletions wait for each."""
    from app.storage.homes import Homes

    for row, owed in in_database(Settings(), lambda session: Homes(session).list()):
        waiting = f"{owed} deletions wait for it" if owed else "nothing waits for it"
        typer.echo(f"{row.id}  on {row.host}, seen {row.seen_at:%Y-%m-%d %H:%M} UTC; {waiting}")


@homes.command("forget")
def forget_home(home: Annotated[str, typer.Argument(help="Its id, as `list` shows it.")]) -> None:
    """Let deletions wait no more for a home whose files are gone."""
    from app.storage.homes import Homes

    if not in_database(Settings(), lambda session: Homes(session).forget(home)):
        raise typer.BadParameter(
            f"there is no home {home}; `perdure homes list` shows them", param_hint="HOME"
        )
    typer.echo(f"{home} is forgotten")
