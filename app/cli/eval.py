"""`perdure eval`: does it remember? What is measured, and how, is in `evals`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.cli.progress import stage_progress
from app.settings import Settings

evaluations = typer.Typer(help="Measure what is remembered.", no_args_is_help=True)


@evaluations.callback()
def _group() -> None:
    """Measure what is remembered."""


@evaluations.command()
def recall(
    data: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="Conversations in LoCoMo's format.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """The share of the turns that answer a question which recall finds, by strategy and category."""
    from evals.recall.locomo import DataError
    from evals.recall.report import show
    from evals.recall.run import evaluate

    try:
        with stage_progress() as progress:
            report = evaluate(data, Settings(), progress=progress)
    except DataError as error:
        raise typer.BadParameter(str(error), param_hint="--data") from error
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    else:
        show(report, Console())
