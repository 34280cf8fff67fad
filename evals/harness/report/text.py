"""The tables of a result, on a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from evals.harness.result import Figure, Result, Row
from evals.harness.statistics import Estimate


def show(result: Result, console: Console) -> None:
    """One table for each of the result's splits, then what its columns mean."""
    console.print(f"[bold]perdure eval {result.evaluation}[/bold]", highlight=False)
    asked = ", ".join(f"{name} {_plain(value)}" for name, value in result.task.items())
    model = result.settings.get("model")
    told = f"{asked}; model {model['id']}" if model else asked
    console.print(told, highlight=False, soft_wrap=True)
    for values, rows in result.tables().items():
        title = ", ".join(f"{name} {value}" for name, value in zip(result.splits, values, strict=True))
        console.print(f"\n[bold]{title}[/bold]", highlight=False)
        console.print(_table(result, rows), highlight=False)
    console.print()
    for figure in result.figures:
        console.print(f"[bold]{figure.title}[/bold]: {figure.meaning}", highlight=False)
    for note in result.notes:
        console.print(f"Note: {note}", highlight=False)


def _table(result: Result, rows: Sequence[Row]) -> Table:
    table = Table("memory", *(figure.heading for figure in result.figures), box=None)
    table.columns[0].overflow, table.columns[0].min_width = "fold", 14
    for column in table.columns[1:]:
        column.justify = "right"
    for memory in result.memories:
        if own := result.of(memory, rows):
            table.add_row(memory, *(_cell(figure, figure.of(own)) for figure in result.figures))
    return table


def _cell(figure: Figure, found: Estimate | None) -> str:
    if found is None:
        return "-"
    mean, half_width = figure.written(found.mean), found.half_width
    return mean if half_width is None else f"{mean} ±{figure.written(half_width)}"


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
