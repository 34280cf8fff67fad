"""The benchmark of choosing a context: everybody chooses from the whole chat. No time is looked at."""

from collections.abc import Callable
from typing import Any

import pytest

from evals.bench.choose import LANGCHAIN, LLAMA_INDEX, UNREAD, ChooseBenchmark, ChooseSizes
from evals.bench.script import read_script
from llm.progress import silent
from llm.text.chat_format import ChatTokenizer

SIZES = ChooseSizes(rounds=2, messages=(40, 80), turn_tokens=30, window_turns=4, token_budget=400)
REMEMBERING = ("facts", "combined")
STRATEGIES = ("sliding_window", "token_buffer", "summary_buffer", "summary", "vector", *REMEMBERING)


def names(*who: str) -> set[str]:
    return {f"{one}, {count} messages" for one in who for count in SIZES.messages}


def benchmark(tokenizer: ChatTokenizer, *, with_peers: bool) -> ChooseBenchmark:
    return ChooseBenchmark(tokenizer, read_script(None), SIZES, with_peers=with_peers, progress=silent)


def test_every_strategy_is_measured_at_every_length_and_has_both_goals(tokenizer: ChatTokenizer) -> None:
    [section] = benchmark(tokenizer, with_peers=False).run()
    assert {row.name for row in section.rows} == names(
        *(f"perdure {name}" for name in STRATEGIES), *(f"perdure {name}, {UNREAD}" for name in REMEMBERING)
    )
    assert all(len(row.rounds) == SIZES.rounds for row in section.rows)
    assert len(section.goals) == 2 * len(STRATEGIES)
    assert all(goal.figure is not None for goal in section.goals)


def test_peers_choose_from_the_same_history(tokenizer: ChatTokenizer) -> None:
    pytest.importorskip("langchain_core", reason="LangChain is an optional extra")
    pytest.importorskip("llama_index", reason="LlamaIndex is an optional extra")
    [section] = benchmark(tokenizer, with_peers=True).run()
    assert names(LANGCHAIN, LLAMA_INDEX) <= {row.name for row in section.rows}


def test_the_command_prints_json_and_says_who_is_missing(
    bench: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evals.bench.choose.find_spec", lambda _name: None)
    report = bench("choose", "--rounds", "1", "--messages", "60", "--messages", "40")
    assert report["settings"]["messages"] == [40, 60]
    assert [note.split(":")[1].strip() for note in report["notes"]] == [LANGCHAIN, LLAMA_INDEX]
    assert len(report["sections"][0]["rows"]) == 2 * (len(STRATEGIES) + len(REMEMBERING))
