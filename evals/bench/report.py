"""What a benchmark found: rows of figures and their rounds, the goals beside them; as tables and as JSON."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from rich.console import Console
from rich.table import Table

from evals.bench.machine import Machine

Item = TypeVar("Item")
Round = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Row:
    """One who took part. `figures` by the name of their column, unit included; `rounds` as measured."""

    name: str
    figures: dict[str, float]
    rounds: list[Round]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is to be, and what it is. `figure` is None where it could not be measured."""

    what: str
    bound: float
    figure: float | None
    kind: Literal["at most", "at least"] = "at most"

    @property
    def is_met(self) -> bool | None:
        if self.figure is None:
            return None
        return self.figure <= self.bound if self.kind == "at most" else self.figure >= self.bound

    def as_dict(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "goal": f"{self.kind} {self.bound:.3g}",
            "figure": self.figure,
            "is_met": self.is_met,
        }


@dataclass(frozen=True, slots=True)
class Section:
    """One table of a benchmark."""

    name: str
    about: str
    rows: list[Row]
    goals: list[Goal] = field(default_factory=list)

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name), None)

    def as_dict(self) -> dict[str, Any]:
        rows = [{"name": row.name, **row.figures, "rounds": row.rounds} for row in self.rows]
        goals = [goal.as_dict() for goal in self.goals]
        return {"name": self.name, "about": self.about, "rows": rows, "goals": goals}


@dataclass(frozen=True, slots=True)
class Report:
    """All of a run. `settings` are what it was started with; `notes` say what must be known to read it."""

    benchmark: str
    machine: Machine
    settings: dict[str, Any]
    sections: list[Section]
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        return {
            "benchmark": self.benchmark,
            "machine": self.machine.as_dict(),
            "settings": self.settings,
            "notes": self.notes,
            "sections": [section.as_dict() for section in self.sections],
        }


def median_of_ratios(ours: Sequence[Round], theirs: Sequence[Round], figure: str) -> float:
    """Median over the rounds of our figure by theirs in the same round."""
    return statistics.median(
        mine[figure] / other[figure] for mine, other in zip(ours, theirs, strict=True) if other[figure]
    )


def rotated(items: Sequence[Item], by: int) -> list[Item]:
    """The items from place `by` on, then those before it: who begins a round changes from round to round."""
    start = by % len(items)
    return [*items[start:], *items[:start]]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not pass (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def ratio_goal(
    section_rows: Sequence[Row],
    ours: str,
    theirs: str,
    figure: str,
    bound: float,
    kind: Literal["at most", "at least"] = "at most",
) -> Goal:
    """The goal that our `figure` is so many times theirs, by the median of the rounds' ratios."""
    rows = {row.name: row for row in section_rows}
    what = f"{figure}, {ours} / {theirs}"
    if ours not in rows or theirs not in rows:
        return Goal(what, bound, None, kind)
    return Goal(what, bound, median_of_ratios(rows[ours].rounds, rows[theirs].rounds, figure), kind)


def show(report: Report, console: Console) -> None:
    console.print(f"[bold]perdure bench {report.benchmark}[/bold]: {report.machine}", highlight=False)
    settings = (f"{name} {value}" for name, value in report.settings.items())
    console.print(f"Settings: {', '.join(settings)}", highlight=False)
    for section in report.sections:
        console.print(f"\n[bold]{section.name}[/bold]: {section.about}", highlight=False)
        columns = list(dict.fromkeys(name for row in section.rows for name in row.figures))
        table = Table("", *columns, box=None)
        for column in table.columns[1:]:
            column.justify = "right"
        for row in section.rows:
            cells = (_number(row.figures[name]) if name in row.figures else "" for name in columns)
            table.add_row(row.name, *cells)
        console.print(table, highlight=False)
        for goal in section.goals:
            console.print(_goal_line(goal), highlight=False)
    for note in report.notes:
        console.print(f"\nNote: {note}", highlight=False)


def _goal_line(goal: Goal) -> str:
    text = f"goal: {goal.what} {goal.kind} {goal.bound:.3g}"
    if goal.figure is None:
        return f"{text}: [yellow]not measured[/yellow]"
    verdict = "[green]met[/green]" if goal.is_met else "[red]not met[/red]"
    return f"{text}: {_number(goal.figure)}, {verdict}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:,.3g}"
