"""The benchmark of choosing a context: everybody chooses from the whole chat. No time is looked at."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.main import app
from app.settings import Settings
from evals.bench.choose import LANGCHAIN, LLAMA_INDEX, ChooseBenchmark, ChooseSizes
from evals.bench.script import read_script
from llm.progress import silent
from llm.text.chat_format import ChatTokenizer

SIZES = ChooseSizes(rounds=2, messages=(40, 80), turn_tokens=30, window_turns=4, token_budget=400)
STRATEGIES = ("sliding_window", "token_buffer", "summary_buffer", "summary")


def names(*who: str) -> set[str]:
    return {f"{one}, {count} messages" for one in who for count in SIZES.messages}


def benchmark(tiny_model: Path, *, with_peers: bool) -> ChooseBenchmark:
    return ChooseBenchmark(
        ChatTokenizer(tiny_model), read_script(None), SIZES, with_peers=with_peers, progress=silent
    )


def test_every_strategy_is_measured_at_every_length_and_has_both_goals(tiny_model: Path) -> None:
    [section] = benchmark(tiny_model, with_peers=False).run()
    assert {row.name for row in section.rows} == names(*(f"perdure {name}" for name in STRATEGIES))
    assert all(len(row.rounds) == SIZES.rounds for row in section.rows)
    assert len(section.goals) == 2 * len(STRATEGIES)
    assert all(goal.figure is not None for goal in section.goals)


def test_peers_choose_from_the_same_history(tiny_model: Path) -> None:
    pytest.importorskip("langchain_core", reason="LangChain is an optional extra")
    pytest.importorskip("llama_index", reason="LlamaIndex is an optional extra")
    [section] = benchmark(tiny_model, with_peers=True).run()
    assert names(LANGCHAIN, LLAMA_INDEX) <= {row.name for row in section.rows}


def test_the_command_prints_json_and_says_who_is_missing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_MODEL", settings.model)
    monkeypatch.setattr("evals.bench.choose.find_spec", lambda _name: None)
    command = ["bench", "choose", "--rounds", "1", "--messages", "60", "--messages", "40", "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["settings"]["messages"] == [40, 60]
    assert [note.split(":")[1].strip() for note in report["notes"]] == [LANGCHAIN, LLAMA_INDEX]
    assert len(report["sections"][0]["rows"]) == 2 * len(STRATEGIES)
