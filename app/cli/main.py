"""The commands of `perdure`."""

import sys
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from app import __version__
from app.cli.backup import backup_home, restore_home
from app.cli.bench import bench
from app.cli.chat import chat
from app.cli.doctor import doctor
from app.cli.documents import documents
from app.cli.eval import evaluations
from app.cli.forget import forget
from app.cli.homes import homes
from app.cli.keys import keys
from app.cli.models import models
from app.cli.personas import personas
from app.cli.reindex import reindex
from app.cli.serve import serve
from app.cli.transfer import export_chat, import_chats

app = typer.Typer(
    help="Chat memory and context windows, with the model behind them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(serve)
app.command()(chat)
app.add_typer(keys, name="keys")
app.add_typer(homes, name="homes")
app.add_typer(models, name="models")
app.add_typer(personas, name="personas")
app.command("export")(export_chat)
app.command("import")(import_chats)
app.add_typer(documents, name="documents")
app.command("backup")(backup_home)
app.command("restore")(restore_home)
app.command()(forget)
app.command()(doctor)
app.command()(reindex)
app.add_typer(bench, name="bench")
app.add_typer(evaluations, name="eval")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"perdure {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def cli() -> None:
    """Run a command; what the user can mend is said in a line, not in a traceback."""
    from app.backup.archive import BackupError
    from app.cli.client import ServiceError
    from app.home import HomeInUseError
    from app.settings import SettingsError
    from app.storage.backend import DatabaseUnavailableError
    from llm.errors import ModelError
    from memory.errors import IndexUnavailableError

    try:
        app()
    except ValidationError as error:
        for detail in error.errors():
            _fail(
                f"setting PERDURE_{'__'.join(str(part) for part in detail['loc']).upper()}: {detail['msg']}"
            )
        sys.exit(1)
    except (
        ModelError,
        HomeInUseError,
        ServiceError,
        SettingsError,
        IndexUnavailableError,
        BackupError,
    ) as error:
        _fail(str(error))
        sys.exit(1)
    except DatabaseUnavailableError as error:
        _fail(f"the database does not answer: {error}")
        sys.exit(1)


def _fail(message: str) -> None:
    Console(stderr=True).print(f"[red]error:[/red] {escape(message)}", highlight=False)
