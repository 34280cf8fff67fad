"""The evaluation of recall: its figures are right where they are known, and bad data is named."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner

from app.cli.main import app
from app.settings import Settings
from evals.compare import compare
from evals.harness.result import read_result
from evals.recall.locomo import DataError, read_locomo
from evals.recall.report import Report, show
from evals.recall.run import evaluate
from memory.recall.passage import PassageKey
from tests.memory.naive_recall import WordEmbedder

STRATEGIES = ("newest", "dense", "lexical", "fused")
SMALL_TALK = (
    "It has been a long and rather quiet day here, and in the evening I had some soup with bread and went."
)


def turn(session: int, number: int, text: str, **more: str) -> dict[str, str]:
    speaker = "Ada" if number % 2 else "Bo"
    return {"speaker": speaker, "dia_id": f"D{session}:{number}", "text": text, **more}


def question(text: str, category: int, *evidence: str) -> dict[str, Any]:
    return {"question": text, "answer": "yes", "category": category, "evidence": list(evidence)}


CONVERSATION = {
    "sample_id": "made-up",
    "conversation": {
        "speaker_a": "Ada",
        "speaker_b": "Bo",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [
            turn(1, 1, "My zebra ate the violin."),
            turn(1, 2, "Look at this!", blip_caption="a photo of a giraffe"),
        ],
        "session_2_date_time": "12:05 am on 20 June, 2023",
        "session_2": [
            *(turn(2, n, f"{SMALL_TALK} {n}") for n in range(1, 12)),
            turn(2, 12, "An iguana lives here."),
        ],
        "session_3_date_time": "9:00 am on 1 July, 2023",  # a date without a session, as some are in LoCoMo
    },
    "qa": [
        question("Who ate a violin?", 4, "D1:1"),
        question("A giraffe and an iguana?", 1, "D1:02; D2:12"),
        question("When iguana?", 2, "D:2:12"),
        question("What is not there?", 5, "D9:9"),
        question("What was never said?", 3),
    ],
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return written(tmp_path, [CONVERSATION])


def written(folder: Path, content: object) -> Path:
    path = folder / "data.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def report(models_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    data = written(tmp_path_factory.mktemp("recall"), [CONVERSATION])
    return evaluate(data, Settings(models=models_folder), WordEmbedder())


def test_turns_questions_and_evidence_are_read_and_what_is_not_usable_is_counted(data: Path) -> None:
    [conversation], skipped = read_locomo(data)
    assert len(conversation.passages) == 14
    assert conversation.passages[1].text == "Look at this! [a photo of a giraffe]"
    assert conversation.passages[1].key == PassageKey("made-up/001", 1)
    assert [passage.role for passage in conversation.passages[:2]] == ["user", "assistant"]
    assert [sorted(key.source[-1] for key in asked.evidence) for asked in conversation.questions] == [
        ["1"],
        ["1", "2"],
        ["2"],
    ]
    assert f"{conversation.passages[2].said_at:%Y-%m-%d %H:%M}" == "2023-06-20 00:05"
    assert conversation.asked_at > conversation.passages[-1].said_at  # type: ignore[operator]
    assert (skipped.questions, skipped.evidence) == (2, ["D9:9"])


def test_the_figures_of_the_newest_turns_are_as_counted_by_hand(report: Report) -> None:
    found = report.as_dict()["strategies"]["newest"]
    everything = found["all"]
    # Of the three questions, the newest turns of the second session hold: nothing, a half, all.
    assert everything["questions"] == 3
    assert everything["5 turns"] == everything["10 turns"] == pytest.approx(50)
    assert everything["50 turns"] == 100
    assert everything["any session in 5"] == everything["all sessions in 5"] == 100
    assert everything["256 tokens"] == pytest.approx(50)
    assert everything["4096 tokens"] == 100
    assert found["by_category"]["multi-hop"]["5 turns"] == pytest.approx(50)
    assert found["by_category"]["single-hop"]["5 turns"] == 0
    assert found["by_category"]["temporal"]["5 turns"] == 100


def test_words_that_were_said_once_are_found_at_once(report: Report) -> None:
    found = report.as_dict()["strategies"]
    assert found["lexical"]["all"]["5 turns"] == found["lexical"]["all"]["256 tokens"] == 100
    assert found["fused"]["all"]["50 turns"] == found["fused"]["all"]["all sessions in 5"] == 100
    assert found["fused"]["by_category"]["single-hop"]["5 turns"] == 100


def test_the_report_names_versions_settings_and_times_of_every_strategy(report: Report) -> None:
    told = json.loads(json.dumps(report.as_dict()))
    assert set(told["strategies"]) == set(STRATEGIES)
    assert all(found["query_ms"]["p95"] > 0 for found in told["strategies"].values())
    assert {"chromadb", "tantivy", "sentence-transformers"} <= set(told["machine"]["versions"])
    assert told["settings"]["turns"] == 14
    assert told["skipped"] == {"questions": 2, "evidence": ["D9:9"]}


def test_a_service_is_told_the_chats_with_their_speakers_and_times_and_forgets_them_afterwards(
    data: Path, service_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "result.json"
    asked = ["eval", "recall", "--data", str(data), "--url", service_url, "--result", str(file)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    result = read_result(file)
    assert result.memories == ["newest", "served"]
    assert result.settings["embedding model"] == "all-minilm-l6-v2"
    [single_hop] = result.of("served", result.tables()["single-hop",])
    assert single_hop["5 turns"] == 1
    for row in result.of("served", result.rows):
        # As the chats were said: what is shown of them is the evidence word for word, with its speaker.
        assert row["all sessions in 5"] == row["4096 tokens"] == 1
    with httpx.Client(base_url=service_url) as client:
        assert client.get("/v1/sessions").json()["data"] == []
        assert client.get("/v1/personas").json()["data"] == []


def test_the_figures_are_the_same_each_time(report: Report, data: Path, models_folder: Path) -> None:
    again = evaluate(data, Settings(models=models_folder), WordEmbedder())
    assert [answer.figures for answer in again.answers] == [answer.figures for answer in report.answers]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({}, "a list of conversations"),
        ([], "a list of conversations"),
        (["x"], "conversation 0"),
        ([CONVERSATION, {"qa": []}], "conversation 1"),
        ([{**CONVERSATION, "qa": [{"question": "?"}]}], "category"),
    ],
)
def test_a_file_of_another_format_is_refused_and_the_place_named(
    tmp_path: Path, content: object, named: str
) -> None:
    with pytest.raises(DataError, match=named):
        read_locomo(written(tmp_path, content))


def test_the_command_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["eval", "recall", "--data", str(written(tmp_path, {}))])
    assert done.exit_code == 2
    assert "a list of conversations" in " ".join(done.output.replace("│", " ").split())


def test_the_command_prints_json(data: Path) -> None:
    printed = CliRunner().invoke(app, ["eval", "recall", "--data", str(data), "--json"])
    assert printed.exit_code == 0, printed.output
    assert json.loads(printed.stdout)["strategies"]["lexical"]["all"]["5 turns"] == 100


def test_the_command_writes_a_result_that_can_be_compared_and_a_report_of_each_category(
    data: Path, tmp_path: Path
) -> None:
    file, page = tmp_path / "result.json", tmp_path / "report.html"
    asked = ["eval", "recall", "--data", str(data), "--result", str(file), "--html", str(page)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    result = read_result(file)
    assert list(result.tables()) == [("all",), ("single-hop",), ("multi-hop",), ("temporal",)]
    assert len(result.rows) == 3 * len(STRATEGIES)
    assert len(result.tables()["all",]) == len(result.rows)
    changes = compare(result, result).changes
    assert {change.split for change in changes} == set(result.tables())
    assert all(change.before == change.after for change in changes)
    [lexical] = [
        change
        for change in changes
        if (change.split, change.memory, change.figure.name) == (("all",), "lexical", "5 turns")
    ]
    assert (lexical.after, lexical.difference.count) == (100, 3)
    html = page.read_text(encoding="utf-8")
    assert all(f"category {name}" in html for (name,) in result.tables())
    assert html.count("<svg") == 2 * len(result.tables())


def test_the_tables_show_every_figure(report: Report) -> None:
    console = Console(width=200, record=True)
    show(report, console)
    text = console.export_text()
    assert all(name in text for name in report.as_dict()["strategies"]["fused"]["all"])
    assert "Skipped: 2 questions" in text
