"""A long chat over HTTP on each strategy: does it go on, within budget, with its persona, and at what cost.

    python -m evals.long_chat --data synthetic_persona_chat_valid.csv

runs against a service on 127.0.0.1:8000. The messages are real text, the replies the model's own.
"""

import json
from collections.abc import Iterator
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from evals.dialogues import Dialogue, read_dialogues

STRATEGIES: tuple[dict[str, Any], ...] = (
    {"strategy": "sliding_window", "turns": 10},
    {"strategy": "token_buffer", "token_budget": 1000},
    {"strategy": "buffer"},
)
# Spelled out, so that the service's defaults do not matter; the penalty keeps a small model from looping.
SAMPLING = {"temperature": 0.7, "top_p": 0.95, "repetition_penalty": 1.1}
WINDOW_FULL = "urn:perdure:problem:context-window-full"


class BrokenPromiseError(Exception):
    """A turn that a strategy's promises do not allow."""


def main(
    data: Annotated[Path, typer.Option(help="Dialogues in the format of Synthetic-Persona-Chat.")],
    url: Annotated[str, typer.Option(help="The service.")] = "http://127.0.0.1:8000",
    turns: Annotated[int, typer.Option(help="Turns of each chat.")] = 200,
    reply_tokens: Annotated[int, typer.Option(help="Longest reply, in tokens.")] = 32,
    every: Annotated[int, typer.Option(help="Show every n-th turn.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Chat for many turns on each strategy; exits with 1 if a promise is broken."""
    dialogues = read_dialogues(data)
    reports = []
    with httpx.Client(base_url=url, timeout=600) as client:
        for memory in STRATEGIES:
            report = chat(client, memory, dialogues, turns=turns, reply_tokens=reply_tokens)
            reports.append(report)
            if not as_json:
                _show(report, every)
    if as_json:
        print(json.dumps(reports))


def chat(
    client: httpx.Client,
    memory: dict[str, Any],
    dialogues: list[Dialogue],
    *,
    turns: int,
    reply_tokens: int,
) -> dict[str, Any]:
    """Chat `turns` turns; what each one cost, and how the chat ended.

    Raises BrokenPromiseError if a prompt is over its budget or without the persona, or if a strategy
    other than `buffer` refuses a message.
    """
    persona = _post(client, "/v1/personas", {"name": "Companion", "instructions": dialogues[0].persona})
    session = _post(client, "/v1/sessions", {"persona_id": persona["id"], "memory": memory})
    costs: list[dict[str, Any]] = []
    for content in islice(cycle(chain.from_iterable(dialogue.messages for dialogue in dialogues)), turns):
        answer = client.post(
            f"/v1/sessions/{session['id']}/messages",
            json={"content": content, "max_tokens": reply_tokens, "seed": len(costs), **SAMPLING},
        )
        if answer.status_code == 422 and answer.json()["type"] == WINDOW_FULL:
            if memory["strategy"] != "buffer":
                raise BrokenPromiseError(f"{memory['strategy']}: {answer.json()['detail']}")
            return {"memory": session["memory"], "turns": costs, "ended": answer.json()["detail"]}
        answer.raise_for_status()
        context = client.get(f"/v1/messages/{answer.json()['message']['id']}/context").json()
        _check(context, persona["id"])
        costs.append(_cost(len(costs) + 1, answer.json()["usage"], context))
    return {"memory": session["memory"], "turns": costs, "ended": None}


def _post(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(path, json=body)
    answer.raise_for_status()
    created: dict[str, Any] = answer.json()
    return created


def _check(context: dict[str, Any], persona_id: str) -> None:
    if context["prompt_tokens"] + context["reply_tokens"] > context["context_window"]:
        raise BrokenPromiseError(f"a prompt over the window: {context}")
    first = context["segments"][0]
    if first["kind"] != "persona" or not context["persona"] or context["persona"]["id"] != persona_id:
        raise BrokenPromiseError(f"a context without its persona: {context}")
    held = sum(segment["tokens"] for segment in context["segments"] if segment["kind"] == "turn")
    budget = context["strategy"].get("token_budget", context["context_window"])
    if held > budget:
        raise BrokenPromiseError(f"{held} tokens of turns in a budget of {budget}")


def _cost(turn: int, usage: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return {
        "turn": turn,
        "prompt_tokens": usage["prompt_tokens"],
        "cached_tokens": cached,
        "new_tokens": usage["prompt_tokens"] - cached,
        "turns_held": len(context["turns"]),
        "ttft_ms": usage["ttft_ms"],
    }


def _show(report: dict[str, Any], every: int) -> None:
    console = Console(highlight=False)
    console.print(f"\n[bold]{report['memory']}[/bold]")
    table = Table("turn", "turns held", "prompt", "cached", "new", "first word, ms", box=None)
    for column in table.columns:
        column.justify = "right"
    for cost in _shown(report["turns"], every):
        table.add_row(*(f"{cost[name]:,.0f}" for name in _COLUMNS))
    console.print(table)
    costs = report["turns"]
    new = sum(cost["new_tokens"] for cost in costs)
    prompt = sum(cost["prompt_tokens"] for cost in costs)
    console.print(f"{len(costs)} turns; computed {new:,} of {prompt:,} prompt tokens ({new / prompt:.1%})")
    if report["ended"]:
        console.print(f"then refused: {report['ended']}")


_COLUMNS = ("turn", "turns_held", "prompt_tokens", "cached_tokens", "new_tokens", "ttft_ms")


def _shown(costs: list[dict[str, Any]], every: int) -> Iterator[dict[str, Any]]:
    return (cost for cost in costs if cost["turn"] % every == 0 or cost is costs[-1])


if __name__ == "__main__":
    typer.run(main)
