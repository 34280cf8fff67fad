"""What changed from one result of an evaluation to another: paired differences, with intervals."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from evals.harness.errors import EvaluationError
from evals.harness.result import Figure, Result, Row
from evals.harness.statistics import Estimate, estimate


@dataclass(frozen=True, slots=True)
class Change:
    """Of one figure of one memory: its means over the rows that both results have, and their difference."""

    split: tuple[Any, ...]
    memory: str
    figure: Figure
    before: float
    after: float
    difference: Estimate

    @property
    def verdict(self) -> str:
        """Significant: the 95% interval of the difference, by chat, leaves 0 out."""
        if not self.difference.is_not_zero:
            return "too few chats" if self.difference.low is None else ""
        if self.figure.better is None:
            return "changed"
        return "better" if (self.difference.mean > 0) == (self.figure.better == "higher") else "worse"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`differing`: settings and versions that are not the same. `unpaired`: rows of one result only."""

    splits: tuple[str, ...]
    changes: list[Change]
    differing: list[str]
    unpaired: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "differing": self.differing,
            "unpaired": self.unpaired,
            "changes": [
                {
                    **dict(zip(self.splits, change.split, strict=True)),
                    "memory": change.memory,
                    "figure": change.figure.name,
                    "before": change.before,
                    "after": change.after,
                    "difference": asdict(change.difference),
                    "verdict": change.verdict,
                }
                for change in self.changes
            ],
        }


def compare(before: Result, after: Result) -> Comparison:
    """Raises EvaluationError if they did not ask the same, naming what differs."""
    if before.evaluation != after.evaluation:
        raise EvaluationError(f"one is of eval {before.evaluation}, the other of eval {after.evaluation}")
    if asked := _differences(before.task, after.task):
        raise EvaluationError(f"they did not ask the same: {'; '.join(asked)}")
    keys = ("memory", *before.splits, *before.keys)
    old, new = _by_key(before, keys), _by_key(after, keys)
    if not (common := [key for key in old if key in new]):
        raise EvaluationError("they have no row in common: neither a memory, within a budget, nor a question")
    groups: dict[tuple[Any, ...], list[tuple[Row, Row]]] = {}
    for key in common:
        for split in before.tables_of(old[key]):
            groups.setdefault((split, old[key]["memory"]), []).append((old[key], new[key]))
    theirs = {figure.name for figure in after.figures}
    figures = [figure for figure in before.figures if figure.name in theirs]
    changes = [
        change
        for (split, memory), pairs in groups.items()
        for figure in figures
        if (change := _change(split, memory, figure, pairs)) is not None
    ]
    differing = [
        line
        for name in ("settings", "versions", "machine")
        for line in _differences(getattr(before, name), getattr(after, name))
        if not line.startswith("load,")  # of the machine, never twice the same
    ]
    return Comparison(before.splits, changes, differing, len(old) + len(new) - 2 * len(common))


def show(comparison: Comparison, console: Console) -> None:
    """A table for each split: of each memory what changed significantly, and how little the rest may have."""
    for line in comparison.differing:
        console.print(f"differs: {line}", highlight=False, soft_wrap=True)
    for split in dict.fromkeys(change.split for change in comparison.changes):
        title = ", ".join(f"{name} {value}" for name, value in zip(comparison.splits, split, strict=True))
        console.print(f"\n[bold]{title}[/bold]", highlight=False)
        table = Table("memory", "figure", "before", "after", "change", "95% interval", "", box=None)
        for column in table.columns[2:6]:
            column.justify = "right"
        for change in comparison.changes:
            if change.split == split:
                table.add_row(*_cells(change))
        console.print(table, highlight=False)
    if comparison.unpaired:
        console.print(f"\n{comparison.unpaired} rows are in one of the results only", highlight=False)
    significant = sum(change.difference.is_not_zero for change in comparison.changes)
    console.print(
        f"\n{significant} of {len(comparison.changes)} changes are significant; one in twenty is by chance.",
        highlight=False,
    )


def _by_key(result: Result, names: tuple[str, ...]) -> dict[tuple[Any, ...], Row]:
    return {tuple(row[name] for name in names): row for row in result.rows}


def _change(
    split: tuple[Any, ...], memory: str, figure: Figure, pairs: list[tuple[Row, Row]]
) -> Change | None:
    """None if no pair has the figure on both sides."""
    having = [
        (old, new) for old, new in pairs if old[figure.name] is not None and new[figure.name] is not None
    ]
    if not having:
        return None
    olds, news = ([figure.value(row) for row in rows] for rows in zip(*having, strict=True))
    differences = [new - old for old, new in zip(olds, news, strict=True)]
    found = estimate(differences, [old["chat"] for old, _ in having])
    return Change(split, memory, figure, sum(olds) / len(olds), sum(news) / len(news), found)


def _cells(change: Change) -> tuple[str, ...]:
    written, difference = change.figure.written, change.difference
    interval = ""
    if difference.low is not None and difference.high is not None:
        interval = f"{written(difference.low)} to {written(difference.high)}"
    return (
        change.memory,
        change.figure.heading,
        written(change.before),
        written(change.after),
        f"{'+' if difference.mean > 0 else ''}{written(difference.mean)}",
        interval,
        change.verdict,
    )


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], path: str = "") -> list[str]:
    """What differs, one line for each field: its name and both values."""
    found = []
    for name in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(name), theirs.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            found += _differences(one, other, f"{path}{name}.")
        elif one != other:
            found.append(f"{path}{name}, {_plain(one)} and {_plain(other)}")
    return found


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)
