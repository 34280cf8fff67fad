"""One self-contained HTML file of a result: tables, plots, and at the end what it was made with."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from evals.harness.controls import CONTROLS
from evals.harness.report.plots import plot
from evals.harness.result import Figure, Result, Row
from evals.harness.statistics import Estimate

TEMPLATE = "template.html"


def write_html(result: Result, file: Path) -> None:
    """Raises EvaluationError if matplotlib is not installed."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [
        {
            "title": ", ".join(f"{name} {value}" for name, value in zip(result.splits, values, strict=True)),
            "lines": _lines(result, rows),
            "plots": _plots(result, rows),
        }
        for values, rows in result.tables().items()
    ]
    page = templates.get_template(TEMPLATE).render(
        result=result,
        sections=sections,
        task=_pairs(result.task),
        settings=_pairs(result.settings),
        machine=_pairs(result.machine),
        versions=_pairs(result.versions),
    )
    file.write_text(page, encoding="utf-8")


def _lines(result: Result, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The lines of a table; in each column the best of what is no control is marked."""
    found = {
        memory: [figure.of(result.of(memory, rows)) for figure in result.figures]
        for memory in result.memories
        if result.of(memory, rows)
    }
    compared = [memory for memory in found if memory not in CONTROLS]
    best = [
        _best(figure, {memory: found[memory][column] for memory in compared})
        for column, figure in enumerate(result.figures)
    ]
    return [
        {
            "memory": memory,
            "is_control": memory in CONTROLS,
            "cells": [
                {"is_best": memory in best[column], **_cell(figure, cells[column])}
                for column, figure in enumerate(result.figures)
            ],
        }
        for memory, cells in found.items()
    ]


def _best(figure: Figure, found: dict[str, Estimate | None]) -> set[str]:
    means = {memory: each.mean for memory, each in found.items() if each is not None}
    if figure.better is None or not means:
        return set()
    best = max(means.values()) if figure.better == "higher" else min(means.values())
    return {memory for memory, mean in means.items() if mean == best}


def _cell(figure: Figure, found: Estimate | None) -> dict[str, str]:
    if found is None:
        return {"mean": "–", "interval": "", "count": "not measured"}
    interval = ""
    if found.low is not None and found.high is not None:
        interval = f"{figure.written(found.low)} to {figure.written(found.high)}"
    count = f"{found.count} rows of {found.chats} chats"
    return {"mean": figure.written(found.mean), "interval": interval, "count": count}


def _plots(result: Result, rows: Sequence[Row]) -> list[dict[str, Any]]:
    drawn = ((each.title, plot(result, each, rows)) for each in result.curves)
    return [{"title": title, "svg": Markup(svg)} for title, svg in drawn if svg is not None]


def _pairs(values: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in values.items()
    ]
