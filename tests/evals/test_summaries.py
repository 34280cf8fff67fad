"""The comparison of summarisers runs, and tells those that keep facts from those that do not."""

import json

import typer
from typer.testing import CliRunner

from evals.summaries import main

app = typer.Typer()
app.command()(main)


def test_the_extractive_summariser_keeps_facts_that_chance_and_recency_lose() -> None:
    arguments = [
        "--seeds",
        "1",
        "--turns",
        "12",
        "--facts",
        "4",
        "--step",
        "6",
        "--max-tokens",
        "120",
        "--json",
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    kept = json.loads(done.output.splitlines()[-1])["kept"]
    assert kept["extractive"] == [1.0]
    assert kept["newest sentences"] < [1.0]
    assert len(kept) == 4
