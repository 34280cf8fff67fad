"""Every evaluation in small, on data of our own: that they run, not what they find. For `make eval-smoke`.

    python -m evals.smoke FOLDER

writes the result and the report of each into the folder.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import evals.answers.run as answers
import evals.persona.run as persona
import evals.recall.run as recall
import evals.retention.run as retention
from app.cli.progress import stage_progress
from app.settings import Settings
from evals.bench.own_service import own_service
from evals.compare import compare
from evals.harness.report.html import write_html
from evals.harness.report.text import show
from evals.harness.result import Result, read_result
from evals.harness.service import EvaluatedService, evaluated_service
from evals.recall.result import result_of
from llm.progress import Progress

EXAMPLE = Path(answers.__file__).with_name("example.json")
TURNS = 18
"""The fewest that have a fact told, one changed and one taken back."""
BUDGET = 256
MEMORIES = ("none", "oracle", "combined")

Evaluate = Callable[[EvaluatedService], Result]


def main(folder: Annotated[Path, typer.Argument(file_okay=False, help="Made if it is not there.")]) -> None:
    """Run every evaluation in small; a result that is read again must be the one that was written."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, console = Settings(), Console()
    with stage_progress() as progress, own_service(settings) as url:
        for evaluate in _evaluations(settings, progress):
            with evaluated_service(settings, url) as service:
                _keep(evaluate(service), folder, console)
    _keep(result_of(recall.evaluate(EXAMPLE, settings), settings), folder, console)


def _keep(result: Result, folder: Path, console: Console) -> None:
    show(result, console)
    file = folder / f"{result.evaluation}.json"
    result.write(file)
    write_html(result, file.with_suffix(".html"))
    assert not any(change.difference.mean for change in compare(result, read_result(file)).changes)


def _evaluations(settings: Settings, progress: Progress) -> list[Evaluate]:
    """Those that ask a service."""
    facts = retention.Plan(seeds=1, turns=TURNS, budgets=(BUDGET,), memories=MEMORIES)
    lines = persona.Plan(
        languages=("English",),
        seeds=1,
        turns=(1, 5),
        budget=BUDGET,
        memories=("none", "combined"),
        examples=(True,),
        replies=1,
    )
    questions = answers.Plan(EXAMPLE, questions=3, budgets=(BUDGET,), memories=MEMORIES)
    return [
        lambda service: retention.evaluate(facts, service, settings, progress),
        lambda service: persona.evaluate(lines, service, settings, progress),
        lambda service: answers.evaluate(questions, service, settings, progress),
    ]


if __name__ == "__main__":
    typer.run(main)
