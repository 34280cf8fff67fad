"""The benchmark of recall: the service's own parts are measured, the vectors of questions are real."""

import pytest

from app.settings import Settings
from evals.bench import recall
from evals.bench.recall import RecallBenchmark, RecallSizes
from evals.bench.script import read_script
from llm.progress import silent

SIZES = RecallSizes(turns=30, others=2, other_turns=4, queries=3, indexed=8)


def test_searches_indexing_and_both_engines_are_measured(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall, "MIXED_FROM", 10)
    query, embedding, indexing, engines = RecallBenchmark(settings, read_script(None), SIZES, silent).run()
    assert [row.name for row in query.rows] == ["alone", "among 2 others"]
    assert all(len(row.rounds) == SIZES.queries for row in query.rows)
    assert [row.name for row in embedding.rows] == ["perdure", "sentence-transformers"]
    assert all(len(row.rounds) == SIZES.queries for row in embedding.rows)
    assert [row.name for row in indexing.rows] == ["perdure: store to indexes", "bare encode"]
    assert [row.name for row in engines.rows] == ["tantivy", "SQLite FTS5"]
    assert all(goal.figure is not None for goal in (*query.goals, *indexing.goals))
