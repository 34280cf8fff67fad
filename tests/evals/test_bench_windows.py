"""The benchmark of windows: what it counts is right, with and without LangChain."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.bench.prefixes import PrefixCache
from evals.bench.report import Section
from evals.bench.script import read_script
from evals.bench.windows import WITHOUT_LANGCHAIN, WindowBenchmark, WindowSizes
from llm.progress import silent
from llm.text.chat_format import ChatEncoding
from memory.summaries.summariser import Task

SIZES = WindowSizes(
    turns=40,
    turn_tokens=30,
    window_turns=4,
    token_budget=400,
    summary_tokens=80,
    fact_tokens=80,
    recall_tokens=160,
    late_replies=7,
)
OURS = "perdure"
ANEW = "perdure, written anew"
LATE = "perdure, upkeep every 7 replies"


class Newest:
    """Writes the newest thing said."""

    author = "test"

    async def summarise(self, task: Task) -> str:
        return task.turns[-1].content


def sections(tokenizer: ChatEncoding, *, with_peers: bool) -> dict[str, Section]:
    benchmark = WindowBenchmark(
        tokenizer, Newest(), read_script(None), SIZES, with_peers=with_peers, progress=silent
    )
    return {section.name: section for section in benchmark.run()}


def figures(section: Section, row: str) -> dict[str, float]:
    found = section.row(row)
    assert found is not None
    return found.figures


@given(st.lists(st.lists(st.integers(0, 2), max_size=6)))
def test_what_is_held_is_the_longest_beginning_of_anything_computed(sequences: list[list[int]]) -> None:
    cache = PrefixCache()
    computed: list[list[int]] = [[]]
    for ids in sequences:
        held = max(
            length
            for length in range(len(ids) + 1)
            if any(ids[:length] == other[:length] and len(other) >= length for other in computed)
        )
        assert cache.held(ids) == held
        assert cache.add(ids) == len(ids) - held
        assert cache.held(ids) == len(ids)
        computed.append(ids)


def test_every_strategy_voids_its_beginning_once_a_cut_and_stays_within_its_bound(
    tokenizer: ChatEncoding,
) -> None:
    found = sections(tokenizer, with_peers=False)
    assert list(found) == [
        "sliding_window",
        "token_buffer",
        "summary_buffer",
        "facts",
        "vector",
        "combined",
        "summary",
        "buffer",
    ]
    for section in found.values():
        assert section.goals
        assert [goal.what for goal in section.goals if not goal.is_met] == []
        assert all(len(row.rounds) == SIZES.turns for row in section.rows)
    for name in ("sliding_window", "token_buffer", "summary_buffer", "facts", "vector", "combined"):
        assert 0 < figures(found[name], OURS)["turns voided"] == figures(found[name], OURS)["cuts"]
    # `combined` gives recall what its other parts leave, up to half as much again.
    for name, most in (("vector", SIZES.recall_tokens), ("combined", SIZES.recall_tokens * 3 // 2)):
        assert 32 < figures(found[name], OURS)["recalled a turn"] <= most
    for name in ("facts", "combined"):
        assert 0 < figures(found[name], OURS)["facts a turn"] <= SIZES.fact_tokens
    for name in ("summary_buffer", "combined", "summary"):
        anew = figures(found[name], ANEW)
        assert anew["turns voided"] == anew["cuts"]
        assert anew["computed a turn"] > figures(found[name], OURS)["computed a turn"]
    assert figures(found["buffer"], OURS)["turns voided"] == 0
    assert figures(found["summary"], OURS)["turns voided"] == SIZES.turns - 1


def test_a_late_summary_waits_for_a_cut_and_costs_no_voided_turn_of_its_own(tokenizer: ChatEncoding) -> None:
    section = sections(tokenizer, with_peers=False)["summary_buffer"]
    late, prompt = figures(section, LATE), figures(section, OURS)
    assert 0 < late["summaries a turn"] < prompt["summaries a turn"]
    assert late["turns voided"] == late["cuts"] == prompt["cuts"]


def test_with_idle_time_a_turn_waits_for_its_own_tokens_and_little_more(tokenizer: ChatEncoding) -> None:
    for section in sections(tokenizer, with_peers=False).values():
        ours = figures(section, OURS)
        assert ours["of it waited for"] <= ours["of it prompt"]
        assert ours["with idle time: computed"] >= ours["computed a turn"]


def test_langchain_computes_almost_its_whole_window_each_turn(tokenizer: ChatEncoding) -> None:
    pytest.importorskip("langchain_classic", reason="LangChain is an optional extra")
    found = sections(tokenizer, with_peers=True)
    peers = {
        name: [row.name for row in section.rows if row.name.startswith("LangChain")]
        for name, section in found.items()
    }
    assert peers == {
        "sliding_window": ["LangChain ConversationBufferWindowMemory", "LangChain trim_messages"],
        "token_buffer": ["LangChain ConversationTokenBufferMemory", "LangChain trim_messages"],
        "summary_buffer": ["LangChain ConversationSummaryBufferMemory"],
        "facts": [],
        "vector": ["LangChain ConversationVectorStoreTokenBufferMemory"],
        "combined": [],
        "summary": ["LangChain ConversationSummaryMemory"],
        "buffer": ["LangChain ConversationBufferMemory"],
    }
    for name in ("sliding_window", "token_buffer", "summary_buffer"):
        ours = figures(found[name], OURS)["computed a turn"]
        assert all(figures(found[name], peer)["computed a turn"] > 1.5 * ours for peer in peers[name])
    # What nothing leaves is the same prompt for both, token for token.
    ours_row, theirs = (found["buffer"].row(name) for name in (OURS, *peers["buffer"]))
    assert ours_row is not None
    assert theirs is not None
    assert ours_row.rounds == theirs.rounds


def test_the_command_prints_each_strategy_and_says_that_langchain_is_missing(
    bench: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evals.bench.windows.PEER_PACKAGES", ("no_such_package",))
    report = bench("windows", "--turns", "3")
    assert report["notes"] == [f"left out: {WITHOUT_LANGCHAIN}"]
    assert report["settings"]["turns"] == 3
    assert all(row["name"].startswith("perdure") for part in report["sections"] for row in part["rows"])
    assert bench("windows", "--turns", "3", "--no-peers")["notes"] == []
