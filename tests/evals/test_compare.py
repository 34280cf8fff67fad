"""Two results side by side: what changed is told from chance, what cannot be compared is refused by name."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from app.cli.main import app
from evals.compare import compare, show
from evals.harness.errors import EvaluationError
from evals.harness.result import Figure, Result, read_result

HELD = Figure(name="held", title="held", unit="%", better="higher", meaning="Facts in the window.")
TOOK = Figure(name="took_ms", title="took", unit="ms", better="lower", meaning="Time.")


def result(held: float, **changes: Any) -> Result:
    """Ten chats of ten questions; of each memory a share of them is held."""
    rows = [
        {
            "chat": f"chat {chat}",
            "memory": memory,
            "budget": 1024,
            "fact": fact,
            "held": fact < 10 * share,
            "took_ms": 5.0 + chat,
        }
        for memory, share in (("none", 0), ("combined", held))
        for chat in range(10)
        for fact in range(10)
    ]
    fields: dict[str, Any] = {
        "evaluation": "retention",
        "made_at": datetime.now(UTC),
        "command": "perdure eval retention",
        "task": {"seeds": 10, "turns": 200},
        "settings": {"model": {"id": "some"}, "memories": {"combined": {"token_budget": 1024}}},
        "versions": {"perdure": "1"},
        "machine": {"cpu": "any", "load": 1.5},
        "figures": (HELD, TOOK),
        "splits": ("budget",),
        "keys": ("chat", "fact"),
        "rows": tuple(rows),
    }
    return Result(**{**fields, **changes})


def verdicts(before: Result, after: Result) -> dict[tuple[str, str], str]:
    changes = compare(before, after).changes
    return {(change.memory, change.figure.name): change.verdict for change in changes}


def test_what_changed_in_every_chat_is_significant_and_what_did_not_is_not() -> None:
    found = verdicts(result(0.5), result(0.7))
    assert found["combined", "held"] == "better"
    assert found["none", "held"] == ""
    assert found["combined", "took_ms"] == ""
    assert verdicts(result(0.7), result(0.5))["combined", "held"] == "worse"


def test_the_difference_is_taken_row_by_row() -> None:
    [change] = [
        each
        for each in compare(result(0.5), result(0.7)).changes
        if (each.memory, each.figure.name) == ("combined", "held")
    ]
    assert (change.before, change.after) == (50, 70)
    assert change.difference.mean == pytest.approx(20)


def test_rows_that_only_one_of_them_has_are_left_out_and_counted() -> None:
    before, after = result(0.5), result(0.7)
    fewer = before.model_copy(update={"rows": before.rows[:150]})
    comparison = compare(fewer, after)
    assert comparison.unpaired == 50
    assert {change.difference.chats for change in comparison.changes if change.memory == "combined"} == {5}


def test_what_cannot_be_compared_is_refused_with_what_differs() -> None:
    with pytest.raises(EvaluationError, match="eval retention, the other of eval persona"):
        compare(result(0.5), result(0.5, evaluation="persona"))
    with pytest.raises(EvaluationError, match="seeds, 10 and 3"):
        compare(result(0.5), result(0.5, task={"seeds": 3, "turns": 200}))
    elsewhere = tuple({**row, "budget": 4096} for row in result(0.5).rows)
    with pytest.raises(EvaluationError, match="no row in common"):
        compare(result(0.5), result(0.5, rows=elsewhere))


def test_settings_that_differ_are_named_and_the_load_of_the_machine_is_not() -> None:
    changed = result(
        0.5,
        settings={"model": {"id": "some"}, "memories": {"combined": {"token_budget": 900}}},
        machine={"cpu": "any", "load": 9},
    )
    assert compare(result(0.5), changed).differing == ["memories.combined.token_budget, 1024 and 900"]


def test_the_command_reads_both_files_and_prints_tables_or_json(tmp_path: Path) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    result(0.5).write(before)
    result(0.7).write(after)
    assert read_result(before).rows == result(0.5).rows
    done = CliRunner().invoke(app, ["eval", "compare", str(before), str(after), "--json"])
    assert done.exit_code == 0, done.output
    assert "better" in {change["verdict"] for change in json.loads(done.stdout)["changes"]}
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as printed:
        show(compare(read_result(before), read_result(after)), console)
    assert "1 of 4 changes are significant" in printed.get()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("no JSON", "Invalid JSON"),
        ('{"evaluation": "recall"}', "Field required"),
        (result(0.5).model_dump_json().replace('"held":', '"kept":'), "rows.0: lacks held"),
    ],
)
def test_a_file_that_holds_no_result_is_refused_with_its_name_and_why(
    tmp_path: Path, content: str, named: str
) -> None:
    file = tmp_path / "some.json"
    file.write_text(content, encoding="utf-8")
    done = CliRunner().invoke(app, ["eval", "compare", str(file), str(file)])
    assert done.exit_code == 1
    assert "some.json" in done.output.replace("\n", "")
    with pytest.raises(EvaluationError, match=named):
        read_result(file)
