"""The plots of a result, as SVG that takes the colour of the page's text, in light and in dark.

matplotlib is in the extra `evals`.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from evals.harness.controls import CONTROLS
from evals.harness.errors import EvaluationError
from evals.harness.result import Curve, Figure, Result, Row, Steps
from evals.harness.statistics import Estimate

INK = "#010203"
"""Stands for the colour of the page's text, until the SVG is written."""
COLOURS = ("#3b82f6", "#e4572e", "#17a673", "#b565d9", "#d99a00", "#13a3b5", "#e0569b", "#7c8b2f", "#8a6d5a")
MARKS = "osD^vPX*h"
DASHES = ((4, 2), (1, 1.5), (6, 2, 1, 2), (2, 2), (8, 2))
SIZE = (7.2, 3.6)
"""Width and height, in inches, without the legend."""
LEGEND_LINE = 0.2
LEGEND_LETTERS, LETTERS_BESIDE_A_NAME = 105, 8
LEAST_POINTS = 2


def plot(result: Result, drawn: Curve | Steps, rows: Sequence[Row]) -> str | None:
    """A line for each memory, with its intervals; None if there is nothing to draw.

    Raises EvaluationError if matplotlib is not installed.
    """
    figures = {figure.name: figure for figure in result.figures}
    figure = figures[drawn.figure if isinstance(drawn, Curve) else next(iter(drawn.at))]
    lines = {memory: _points(figures, drawn, result.of(memory, rows)) for memory in result.memories}
    lines = {memory: points for memory, points in lines.items() if len(points) >= LEAST_POINTS}
    if not lines:
        return None
    heading = figure.heading if isinstance(drawn, Curve) else figure.unit
    canvas, axes = _axes(drawn.x_title, heading)
    for memory, points in lines.items():
        xs, found = zip(*points, strict=True)
        style = _style(memory, result.memories)
        axes.plot(xs, [each.mean for each in found], label=memory, linewidth=1.8, markersize=4.5, **style)
        if all(each.low is not None for each in found):
            lows, highs = [each.low for each in found], [each.high for each in found]
            axes.fill_between(xs, lows, highs, color=style["color"], alpha=0.08, linewidth=0)
    if figure.unit == "%":
        axes.set_ylim(-3, 103)
    # Below, and the plot as much taller: names may be long, and many.
    columns = max(1, LEGEND_LETTERS // (max(map(len, lines)) + LETTERS_BESIDE_A_NAME))
    canvas.set_size_inches(SIZE[0], SIZE[1] + LEGEND_LINE * math.ceil(len(lines) / columns))
    legend = canvas.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_color(INK)
    return _svg(canvas)


def _points(
    figures: Mapping[str, Figure], drawn: Curve | Steps, rows: Sequence[Row]
) -> list[tuple[float, Estimate]]:
    if isinstance(drawn, Steps):
        found = [(place, figures[name].of(rows)) for name, place in drawn.at.items()]
    else:
        by_place: dict[float, list[Row]] = {}
        for row in rows:
            if row.get(drawn.x) is not None:
                by_place.setdefault(row[drawn.x], []).append(row)
        found = [(place, figures[drawn.figure].of(by_place[place])) for place in sorted(by_place)]
    return [(place, each) for place, each in found if each is not None]


def _style(memory: str, memories: Sequence[str]) -> dict[str, Any]:
    """Controls are dashed and without colour; what is compared is told apart by colour and mark."""
    if memory in CONTROLS:
        dashes = DASHES[list(CONTROLS).index(memory) % len(DASHES)]
        return {"color": "#8b8f97", "dashes": dashes}
    number = [each for each in memories if each not in CONTROLS].index(memory)
    again = number // len(COLOURS)  # a colour that comes again has another mark
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKS[(number + again) % len(MARKS)]}


def _axes(x_title: str, y_title: str) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure as Plot  # noqa: PLC0415 - it is optional
    except ImportError as error:
        raise EvaluationError(
            "an HTML report needs matplotlib, which is not installed: pip install 'perdure[evals]'"
        ) from error
    canvas = Plot(figsize=SIZE, layout="constrained")
    axes = canvas.add_subplot()
    axes.patch.set_alpha(0)
    axes.set_xlabel(x_title, color=INK)
    axes.set_ylabel(y_title, color=INK)
    axes.tick_params(colors=INK)
    axes.grid(visible=True, color=INK, alpha=0.12, linewidth=0.6)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(INK)
    return canvas, axes


def _svg(canvas: Any) -> str:
    import matplotlib  # noqa: PLC0415 - it is optional

    written = io.StringIO()
    # Text as text; and the same file every time.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "perdure"}):
        canvas.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg))
