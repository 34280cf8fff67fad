"""The context window as a coloured bar, and a table of what is in it."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

COLOURS = {
    "persona": "magenta",
    "examples": "bright_magenta",
    "pinned": "cyan",
    "facts": "bright_cyan",
    "summary": "bright_blue",
    "turn": "blue",
    "reminder": "magenta",
    "lore": "cyan",
    "recalled": "bright_yellow",
    "note": "bright_cyan",
    "message": "green",
    "generation_prompt": "bright_green",
    "reply": "yellow",
    "free": "grey23",
}


def context_bar(context: dict[str, Any], width: int) -> RenderableType:
    """Draw a context view of the API, `width` characters wide."""
    parts = _parts(context)
    bar = Text()
    for kind, cells in zip((kind for kind, _ in parts), _cells([t for _, t in parts], width), strict=True):
        bar.append("█" * cells, style=COLOURS[kind])
    summary = Text.assemble(
        (f"{context['prompt_tokens']:,}", "bold"),
        " tokens in the prompt, ",
        (f"{context['cached_tokens']:,}", "bold"),
        f" of them cached; {context['reply_tokens']:,} kept for the reply; "
        f"window {context['context_window']:,}",
    )
    return Group(bar, summary, _legend(context, parts))


def _parts(context: dict[str, Any]) -> list[tuple[str, int]]:
    """Kinds with their tokens, in the order of the window; neighbours of one kind as one part."""
    parts: list[tuple[str, int]] = []
    for segment in context["segments"]:
        if parts and parts[-1][0] == segment["kind"]:
            parts[-1] = (segment["kind"], parts[-1][1] + segment["tokens"])
        else:
            parts.append((segment["kind"], segment["tokens"]))
    free = context["context_window"] - context["prompt_tokens"] - context["reply_tokens"]
    return [*parts, ("reply", context["reply_tokens"]), ("free", free)]


def _cells(amounts: list[int], width: int) -> list[int]:
    """Shares of `width`, whole, at least 1 for what is not nothing, in all exactly `width`."""
    total = sum(amounts)
    cells = [max(1, amount * width // total) if amount else 0 for amount in amounts]
    cells[cells.index(max(cells))] += width - sum(cells)
    return cells


def _legend(context: dict[str, Any], parts: list[tuple[str, int]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for kind, tokens in parts:
        about = ""
        if kind == "turn":
            turns = [s["turn"] for s in context["segments"] if s["kind"] == kind]
            about = f"turns {turns[0]} to {turns[-1]}, word for word"
        elif kind == "reply":
            about = "kept free for the reply"
        elif kind != "free":
            about = next(s["reason"] for s in context["segments"] if s["kind"] == kind)
        table.add_row(
            Text("■", style=COLOURS[kind]), kind.replace("_", " "), f"{tokens:,}", Text(about, style="dim")
        )
    for left_out in context["left_out"]:
        span = f"turns {left_out['first_turn']} to {left_out['last_turn']}: {left_out['reason']}"
        table.add_row(Text("□", style="red"), "left out", f"{left_out['tokens']:,}", Text(span, style="dim"))
    table.columns[2].justify = "right"
    return table
