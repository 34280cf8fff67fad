"""What `perdure eval recall` prints: evidence found by strategy and category, and the time of a query."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table

from evals.bench.machine import this_machine
from evals.bench.report import percentile
from evals.recall.locomo import CATEGORIES, Skipped
from evals.recall.measure import Answer

PACKAGES = ("sentence-transformers", "chromadb", "tantivy", "numpy")


@dataclass(frozen=True, slots=True)
class Report:
    """`settings`: what it was run with. `answers`: one for each strategy and question."""

    settings: dict[str, Any]
    skipped: Skipped
    answers: Sequence[Answer]

    def as_dict(self) -> dict[str, Any]:
        machine = this_machine(self.settings["threads"]).as_dict()
        machine["versions"] |= {package: version(package) for package in PACKAGES}
        return {
            "evaluation": "recall",
            "machine": machine,
            "settings": self.settings,
            "skipped": asdict(self.skipped),
            "strategies": {strategy: self._strategy(strategy) for strategy in self.strategies},
        }

    def of(self, strategy: str, category: int | None = None) -> list[Answer]:
        """The answers of a strategy, to the questions of one category or to all."""
        return [
            answer
            for answer in self.answers
            if answer.strategy == strategy and category in (None, answer.category)
        ]

    @property
    def strategies(self) -> list[str]:
        return list(dict.fromkeys(answer.strategy for answer in self.answers))

    @property
    def categories(self) -> list[int]:
        return sorted({answer.category for answer in self.answers})

    def _strategy(self, strategy: str) -> dict[str, Any]:
        answers = self.of(strategy)
        by_category = {category_name(each): _summary(self.of(strategy, each)) for each in self.categories}
        times = [answer.took_ms for answer in answers]
        return {
            "all": _summary(answers),
            "by_category": by_category,
            "query_ms": {"p50": percentile(times, 0.5), "p95": percentile(times, 0.95)} if times else {},
        }


def category_name(category: int) -> str:
    return CATEGORIES.get(category, str(category))


def _summary(answers: Sequence[Answer]) -> dict[str, float]:
    """Means in percent, and how many questions they are of."""
    names = answers[0].figures if answers else {}
    means = {name: 100 * sum(answer.figures[name] for answer in answers) / len(answers) for name in names}
    return {"questions": len(answers), **means}


def show(report: Report, console: Console) -> None:
    """Print the tables: all questions by strategy, then the last strategy by category."""
    console.print("[bold]perdure eval recall[/bold]: mean share of the evidence that was found, in percent")
    settings = ", ".join(f"{name} {value}" for name, value in report.settings.items())
    console.print(f"Settings: {settings}", highlight=False, soft_wrap=True)
    everything = report.as_dict()["strategies"]
    console.print(_table("strategy", {name: found["all"] for name, found in everything.items()}))
    last = report.strategies[-1]
    console.print(_table(f"{last}, by category", everything[last]["by_category"]))
    for name, found in everything.items():
        if name != "newest" and (took := found["query_ms"]):
            console.print(f"{name}: p50 {took['p50']:.1f} ms a query, p95 {took['p95']:.1f}", highlight=False)
    skipped = report.skipped
    console.print(
        f"Skipped: {skipped.questions} questions without usable evidence, {len(skipped.evidence)} strings "
        "of evidence that name no turn",
        highlight=False,
    )


def _table(title: str, rows: dict[str, dict[str, float]]) -> Table:
    """Figures down, rows across: there are more figures than a line has room for."""
    table = Table(title, *rows, box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name in next(iter(rows.values()), {}):
        cells = (f"{row[name]:.0f}" if name == "questions" else f"{row[name]:.1f}" for row in rows.values())
        table.add_row(name, *cells)
    return table
