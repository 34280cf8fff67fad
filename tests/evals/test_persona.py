"""The evaluation of personas: a line is compared with itself under another persona, all else the same."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from typer.testing import Result as Done

from app.cli.main import app
from app.models.chat import start_engine
from app.server import create_app
from app.settings import Settings
from app.web_server import serve_in_thread
from evals.harness.controls import Everything, NoMemory
from evals.harness.result import Row, read_result
from evals.harness.service import EvaluatedService, evaluated_service
from evals.harness.strategies import ServedMemory
from evals.harness.windows import Memory
from evals.persona.characters import Pair
from evals.persona.figures import figures
from evals.persona.made import made_pair
from evals.persona.measure import Measurement, Talk, Telling, recites, with_change
from evals.persona.run import SHORTEST
from evals.retention.chats import LANGUAGES, retention_chat
from llm.loading import LoadedModel
from llm.text.chat_format import ChatTokenizer

PLAIN, REMINDED = Telling(with_examples=False), Telling(with_examples=True, reminder_depth=1)
DIALOGUES = """user 1 personas,user 2 personas,Best Generated Conversation
"I bake.","I sail.","User 1: What do you do?
User 2: I sail a lot."
"I bake.","I climb.","User 1: What do you do?
User 2: I climb a lot."
"""


class Strict:
    """A judge whom every reply contradicts that is about anything at all."""

    def contradicts(self, facts: Sequence[str], reply: str) -> bool:  # noqa: ARG002
        return bool(facts)


def talk() -> Talk:
    chat = retention_chat(0, LANGUAGES["English"], SHORTEST).chat
    return Talk(made_pair("English", 0), chat.turns)


@pytest.fixture(scope="module")
def service(service_url: str) -> Iterator[EvaluatedService]:
    with evaluated_service(Settings(), service_url) as service:
        yield service


@pytest.fixture(scope="module")
def rows(service: EvaluatedService, tokenizer: ChatTokenizer) -> list[Row]:
    """Of one pair, early and late, told plainly and with a reminder."""
    memories: list[Memory] = [
        NoMemory(tokenizer, 256, 0),
        ServedMemory(service, "sliding_window", {"strategy": "sliding_window", "turns": 2}),
    ]
    measurement = Measurement(service, {"English": memories}, 1, Strict())
    return with_change(measurement.rows([talk()], [1, 6], [PLAIN, REMINDED]), [1, 6])


def of(rows: list[Row], **fields: Any) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in fields.items())]


def test_every_line_of_both_is_asked_for_after_each_number_of_turns(rows: list[Row]) -> None:
    lines = {
        f"{number}: {line.said}"
        for number, character in enumerate(made_pair("English", 0).characters, 1)
        for line in character.lines
    }
    for memory, reminder, examples in (
        ("none", "none", "no"),
        ("sliding_window", "none", "no"),
        ("sliding_window", "1", "yes"),
    ):
        for turn in (1, 6):
            found = of(rows, memory=memory, reminder=reminder, examples=examples, turn=turn)
            assert sorted(row["line"] for row in found) == sorted(lines)
    assert len(rows) == 6 * len(lines), "a control knows no reminder"


def test_a_line_is_likelier_by_what_its_score_is_above_that_under_the_other_persona(rows: list[Row]) -> None:
    assert {row["likelier"] for row in rows} == {True, False}, "a model that knows nothing"
    assert all(row["likelier"] == (row["margin"] > 0) for row in rows)


def test_a_model_that_reads_the_persona_finds_its_own_lines_likelier(
    default_model: LoadedModel,
    chat_tokenizer: ChatTokenizer,
    models_folder: Path,
    tmp_path: Path,
) -> None:
    settings = Settings(home=tmp_path / "served", models=models_folder)
    served = create_app(settings, start_engine(default_model, chat_tokenizer, settings))
    pair = talk().pair
    one, other = (replace(character, lines=character.lines[:3]) for character in pair.characters)
    with serve_in_thread(served) as url, evaluated_service(settings, url) as service:
        measurement = Measurement(service, {"English": [NoMemory(chat_tokenizer, 256, 0)]})
        rows = measurement.rows([Talk(Pair(pair.name, (one, other)), talk().turns)], [1], [PLAIN])
    assert [row["likelier"] for row in rows] == 6 * [True]


def test_the_persona_stands_in_every_window_with_all_its_facts(rows: list[Row]) -> None:
    assert {row["facts"] for row in rows} == {1.0}


def test_examples_and_a_reminder_take_tokens_and_more_turns_do_too(rows: list[Row]) -> None:
    def tokens(**fields: Any) -> int:
        return sum(int(row["prompt_tokens"]) for row in of(rows, memory="sliding_window", **fields))

    assert tokens(turn=1, reminder="1") > tokens(turn=1, reminder="none")
    assert tokens(turn=6, reminder="none") > tokens(turn=1, reminder="none")
    assert sum(row["prompt_tokens"] for row in of(rows, memory="none", turn=1)) < tokens(
        turn=1, reminder="none"
    )


def test_a_reply_is_generated_to_the_first_line_of_each_and_judged(rows: list[Row]) -> None:
    firsts = {character.lines[0].asked for character in made_pair("English", 0).characters}
    for row in rows:
        assert (row["reply"] is not None) == (row["asked"] in firsts)
        assert row["rule_kept"] in ((True, False) if row["reply"] is not None else (None,))
        assert row["recites"] in ((True, False) if row["reply"] is not None else (None,))
        assert row["contradicts"] is (True if row["reply"] is not None else None)


def test_a_reply_recites_that_tells_more_of_the_facts_than_one() -> None:
    character = made_pair("English", 0).characters[0]
    first, second, *_ = character.facts
    assert recites(character, f"{first.lower()} And {second.rstrip('.').upper()}, you know.")
    assert not recites(character, f"{first} That is all. {first}")
    assert not recites(character, "")


def test_the_same_is_measured_again(
    rows: list[Row], service: EvaluatedService, tokenizer: ChatTokenizer
) -> None:
    measurement = Measurement(service, {"English": [NoMemory(tokenizer, 256, 0)]})
    again = measurement.rows([talk()], [1], [PLAIN])
    before = of(rows, memory="none", turn=1)
    assert [row["line"] for row in again] == [row["line"] for row in before]
    assert [row["margin"] for row in again] == pytest.approx([row["margin"] for row in before], abs=0.01)


def test_a_window_too_large_for_the_model_is_not_scored(
    service: EvaluatedService, tokenizer: ChatTokenizer
) -> None:
    wordy = Talk(talk().pair, (("Hm. " * service.context_window, "Yes."),))
    rows = Measurement(service, {"English": [Everything(tokenizer, 0, 0)]}).rows([wordy], [1], [PLAIN])
    assert {row["likelier"] for row in rows} == {row["margin"] for row in rows} == {None}
    assert all(row["prompt_tokens"] > service.context_window for row in rows)


def test_the_change_is_of_the_same_line_from_the_fewest_turns_to_the_most() -> None:
    def row(turn: int, line: str, likelier: bool | None) -> Row:
        of_all = {"chat": "c", "memory": "m", "reminder": "none", "examples": "no"}
        return of_all | {"turn": turn, "line": line, "likelier": likelier}

    said = {"lost": (True, False), "won": (False, True), "kept": (True, True), "unknown": (True, None)}
    rows = [row(turn, line, has[turn > 5]) for turn in (5, 9) for line, has in said.items()]
    changed = with_change(rows, [5, 9])
    assert {each["line"]: each["change"] for each in changed if each["turn"] == 9} == {
        "lost": -1,
        "won": 1,
        "kept": 0,
        "unknown": None,
    }
    assert all(each["change"] is None for each in changed if each["turn"] == 5)
    assert [each["likelier_5"] for each in changed] == [True, False, True, True] + 4 * [None]
    assert [each["likelier_9"] for each in changed] == 4 * [None] + [False, True, True, None]


@pytest.fixture
def persona_eval(service_url: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Runs `perdure eval persona` against a running service of a tiny model."""
    monkeypatch.setenv("PERDURE_MODEL", str(tiny_model))

    def run(*arguments: str) -> Done:
        return CliRunner().invoke(app, ["eval", "persona", "--url", service_url, *arguments])

    return run


def test_the_command_makes_personas_in_both_languages_and_writes_result_and_report(
    persona_eval: Callable[..., Done], tmp_path: Path
) -> None:
    json_file, html_file = tmp_path / "result.json", tmp_path / "report.html"
    options = "--seeds 1 --turns 1,3 --memories token_buffer --budget 256"
    files = ["--json", str(json_file), "--html", str(html_file)]
    done = persona_eval(*options.split(), "--no-examples", *files)
    assert done.exit_code == 0, done.output
    result = read_result(json_file)
    assert set(result.tables()) == {("English", "none", "no"), ("Korean", "none", "no")}
    names = (*result.splits, *result.keys, "memory")
    assert len({tuple(row[name] for name in names) for row in result.rows}) == len(result.rows)
    assert result.task["turns"] == [1, 3]
    assert result.settings["memories"]["Korean"]["token_buffer"]["token_budget"] == 256
    assert {"likelier_1", "likelier_3", "change"} <= {figure.name for figure in result.figures}
    assert "rule_kept" not in {figure.name for figure in result.figures}, "no reply was asked for"
    page = html_file.read_text(encoding="utf-8")
    assert page.count("<svg") == 4, "two plots for each table"
    assert "language Korean, reminder none, examples no" in done.output


def test_the_command_takes_the_personas_of_dialogues(
    persona_eval: Callable[..., Done], tmp_path: Path
) -> None:
    data, json_file = tmp_path / "data.csv", tmp_path / "result.json"
    data.write_text(DIALOGUES, encoding="utf-8")
    options = ["--data", str(data), "--turns", "1", "--memories", "sliding_window"]
    done = persona_eval(*options, "--seeds", "1", "--reminder-depths", "0", "--json", str(json_file))
    assert done.exit_code == 0, done.output
    rows = json.loads(json_file.read_text(encoding="utf-8"))["rows"]
    assert sorted(row["line"][3:] for row in rows) == 2 * ["I climb a lot."] + 2 * ["I sail a lot."]
    assert {(row["examples"], row["reminder"]) for row in rows} == {("yes", "0"), ("no", "0")}
    refused = persona_eval(*options, "--seeds", "2")
    assert refused.exit_code == 1
    assert "has 2 personas with lines of their own" in " ".join(refused.output.split())


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--turns", "0,5"], 1, "beginning with 1"),
        (["--turns", "five"], 2, "'five' is no number"),
        (["--turns", " , "], 2, "'' is no number"),
        (["--reminder-depths", "none,-1"], 2, "'-1' is no number"),
        (["--budget", "10"], 1, "too small"),
        (["--memories", "elephant"], 1, "there is no memory elephant"),
        (["--language", "Elvish"], 1, "there are no personas in Elvish"),
        (["--nli", "/nowhere"], 1, "/nowhere cannot be loaded"),
    ],
)
def test_the_command_says_what_is_wrong(
    persona_eval: Callable[..., Done], arguments: list[str], code: int, told: str
) -> None:
    done = persona_eval("--seeds", "1", *arguments)
    assert done.exit_code == code, done.output
    assert told in " ".join(done.output.replace("│", " ").split())


def test_a_broken_file_of_dialogues_is_named_with_its_line(
    persona_eval: Callable[..., Done], tmp_path: Path
) -> None:
    data = tmp_path / "data.txt"
    data.write_text("1 your persona: i sail .\n3 hi !\thello !\n", encoding="utf-8")
    done = persona_eval("--data", str(data))
    assert done.exit_code == 1
    assert "data.txt:2 has the number 3" in " ".join(done.output.split())


def test_every_figure_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    section = page[page.index("## `perdure eval persona`") :]
    for figure in figures([5], with_replies=True, with_judge=True):
        assert figure.title in section
