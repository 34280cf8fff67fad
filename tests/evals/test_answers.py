"""The evaluation of answers: what is asked of which window, and that its figures are what they say."""

from pathlib import Path
from statistics import fmean
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import evals.answers
from app.cli.main import app
from app.settings import Settings
from evals.answers.chats import AnswersChat, answers_chat, chosen
from evals.answers.measure import behind
from evals.answers.run import Plan, evaluate
from evals.harness.errors import EvaluationError
from evals.harness.result import Result, Row, read_result
from evals.harness.service import evaluated_service
from evals.recall.locomo import read_locomo
from tests.evals.test_recall import CONVERSATION, question, turn, written

SPOKEN: dict[str, Any] = {
    **CONVERSATION,
    "conversation": {
        "speaker_a": "Ada",
        "speaker_b": "Bo",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [
            turn(1, 2, "Hello, anybody there?"),
            turn(1, 1, "My zebra ate the violin."),
            turn(1, 3, "All of it."),
            turn(1, 4, "Poor violin!"),
        ],
        "session_2_date_time": "12:05 am on 20 June, 2023",
        "session_2": [
            turn(2, 2, "I bought a lute."),
            turn(2, 1, "How lovely."),
            turn(2, 4, "An iguana lives here."),
            turn(2, 3, "I know."),
        ],
    },
    "qa": [
        {**question("What did the zebra eat?", 4, "D1:1"), "answer": "the violin"},
        {**question("When was the lute bought?", 2, "D2:2", "D1:1"), "answer": 2023},
        {**question("What did the lion eat?", 5, "D1:1"), "adversarial_answer": "the lute"},
        {**question("Who lives there?", 4, "D2:4"), "answer": None},
    ],
}
EXAMPLE = Path(evals.answers.__file__).with_name("example.json")
MEMORIES = ("none", "newest", "oracle", "everything", "token_buffer")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    others = [{**SPOKEN, "sample_id": name} for name in ("second", "third")]
    return written(tmp_path_factory.mktemp("answers"), [SPOKEN, *others])


@pytest.fixture(scope="module")
def chats(data: Path) -> list[AnswersChat]:
    return [answers_chat(each) for each in read_locomo(data)[0]]


@pytest.fixture(scope="module")
def result(service_url: str, data: Path) -> Result:
    settings = Settings()
    with evaluated_service(settings, service_url) as service:
        return evaluate(Plan(data, memories=MEMORIES, budgets=(256,)), service, settings)


def of(result: Result, memory: str, number: int = 0) -> Row:
    """The row of a question of the first conversation."""
    [row] = [
        row
        for row in result.rows
        if (row["chat"], row["memory"], row["question"]) == (SPOKEN["sample_id"], memory, number)
    ]
    return row


def test_every_line_says_who_said_it_and_when_and_those_of_one_stand_together(
    chats: list[AnswersChat],
) -> None:
    first, second = chats[0].chat.turns[:2]
    assert first == (
        "[8 May 2023] Bo: Hello, anybody there?\n[8 May 2023] Ada: My zebra ate the violin.\n"
        "[8 May 2023] Ada: All of it.",
        "[8 May 2023] Bo: Poor violin!\n[20 June 2023] Bo: I bought a lute.",
    )
    assert second == (
        "[20 June 2023] Ada: How lovely.",
        "[20 June 2023] Bo: An iguana lives here.\n[20 June 2023] Ada: I know.",
    )
    assert len(chats[0].chat.turns) == 2
    assert f"{chats[0].chat.said_at(1):%Y-%m-%d}" == "2023-06-20"
    assert chats[0].lead == "[21 June 2023] Bo:"


def test_questions_have_an_answer_and_the_turns_that_give_it(chats: list[AnswersChat]) -> None:
    eaten, bought = chats[0].questions
    assert (eaten.answer, eaten.category, eaten.asked.evidence, eaten.turns_ago) == (
        "the violin",
        "single-hop",
        (0,),
        1,
    )
    assert (bought.answer, bought.category) == ("2023", "temporal")
    assert bought.evidence == ("My zebra ate the violin.", "I bought a lute.")


@pytest.mark.parametrize("most", [1, 2, 3, 5, 6, 100])
def test_questions_are_drawn_alike_from_every_chat_and_the_same_for_a_seed(
    chats: list[AnswersChat], most: int
) -> None:
    drawn = chosen(chats, most, seed=3)
    counts = [len(each.questions) for each in drawn]
    assert sum(counts) == min(most, 6)
    assert max(counts) - min(counts) <= 1
    assert chosen(chats, most, seed=3) == drawn


def test_seeds_draw_different_questions(chats: list[AnswersChat]) -> None:
    drawn = {tuple(each.questions[0].number for each in chosen(chats, 3, seed)) for seed in range(9)}
    assert len(drawn) > 1


def test_the_example_has_questions_of_every_kind_that_is_asked() -> None:
    asked = [question for each in Plan(EXAMPLE).chats for question in each.questions]
    assert {each.category for each in asked} == {"multi-hop", "temporal", "single-hop"}
    assert len(asked) == 7


def test_one_who_speaks_alone_is_no_dialogue(tmp_path: Path) -> None:
    alone = {**SPOKEN["conversation"], "session_1": [turn(1, 1, "Hello?")], "session_2": []}
    [conversation], _ = read_locomo(written(tmp_path, [{**SPOKEN, "conversation": alone, "qa": []}]))
    with pytest.raises(EvaluationError, match="only one says anything"):
        answers_chat(conversation)


@given(st.lists(st.text(max_size=3), max_size=6), st.lists(st.text(min_size=1, max_size=3), max_size=6))
def test_only_what_begins_behind_the_lead_is_scored(lead: list[str], rest: list[str]) -> None:
    tokens = [(text, -1.0) for text in lead if text] + [(text, -2.0) for text in rest]
    assert behind("".join(lead), tokens) == [-2.0] * len(rest)


def test_the_figures_of_windows_that_are_known(result: Result) -> None:
    assert of(result, "none")["evidence"] == 0
    for memory in ("newest", "oracle", "everything", "token_buffer"):
        assert of(result, memory)["evidence"] == 1
    assert of(result, "oracle")["prompt_tokens"] < of(result, "everything")["prompt_tokens"]
    assert of(result, "everything")["prompt_tokens"] == of(result, "token_buffer")["prompt_tokens"]
    assert of(result, "everything")["whole"] == pytest.approx(of(result, "token_buffer")["whole"], abs=0.2)


def test_an_answer_is_scored_behind_the_question_and_the_turns_that_the_memory_sends(
    service_url: str, result: Result, chats: list[AnswersChat]
) -> None:
    message, reply = chats[0].chat.turns[0]
    spoken = [("user", message), ("assistant", reply), ("user", "What did the zebra eat?")]
    body = {
        "messages": [{"role": role, "content": content} for role, content in spoken],
        "candidates": ["[21 June 2023] Bo: the violin", "[21 June 2023] Bo:"],
    }
    answer = httpx.post(f"{service_url}/v1/scores", json=body, timeout=60).raise_for_status().json()
    whole, lead = answer["candidates"]
    tokens = len(whole["tokens"]) - len(lead["tokens"])
    found = of(result, "oracle")
    assert found["whole"] == pytest.approx(whole["log_probability"] - lead["log_probability"], abs=1e-2)
    assert found["per_token"] == pytest.approx(found["whole"] / tokens, abs=1e-3)
    assert found["prompt_tokens"] == answer["prompt_tokens"]


def test_a_gain_is_over_no_memory_question_by_question(result: Result) -> None:
    for number, category in ((0, "single-hop"), (1, "temporal")):
        with_it, without = of(result, "oracle", number), of(result, "none", number)
        assert with_it["category"] == category
        assert with_it["gain"] == pytest.approx(with_it["per_token"] - without["per_token"], abs=1e-3)
        assert without["gain"] is None
    [gain] = [figure for figure in result.figures if figure.name == "gain"]
    estimate = gain.of(result.of("oracle", result.rows))
    assert estimate is not None
    assert estimate.mean == pytest.approx(
        fmean(row["gain"] for row in result.rows if row["memory"] == "oracle")
    )
    assert estimate.chats == 3
    assert estimate.low is not None


def test_the_command_writes_the_result_and_the_report_and_leaves_nothing_behind(
    service_url: str, data: Path, tmp_path: Path
) -> None:
    file, page = tmp_path / "result.json", tmp_path / "report.html"
    wanted = ["--data", str(data), "--questions", "2", "--memories", "none,oracle", "--url", service_url]
    done = CliRunner().invoke(
        app, ["eval", "answers", *wanted, "--seed", "5", "--json", str(file), "--html", str(page)]
    )
    assert done.exit_code == 0, done.output
    assert "per token" in done.stdout
    result = read_result(file)
    assert (result.task["questions"], result.task["seed"]) == (2, 5)
    assert len(result.rows) == 4
    assert result.settings["budgets"] == [1024]
    assert "Adversarial" in page.read_text(encoding="utf-8")
    assert httpx.get(f"{service_url}/v1/sessions").json()["data"] == []


@pytest.mark.parametrize(
    ("content", "arguments", "named"),
    [
        ([], (), "a list of conversations"),
        ([SPOKEN, SPOKEN], (), "two conversations have the same sample_id"),
        ([{**SPOKEN, "qa": SPOKEN["qa"][2:]}], (), "no question with an answer"),
        ([SPOKEN], ("--budget", "10"), "a budget of 10 tokens is too small"),
        ([SPOKEN], ("--memories", "nonsense"), "there is no memory nonsense"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_line(
    service_url: str, tmp_path: Path, content: Any, arguments: tuple[str, ...], named: str
) -> None:
    data = written(tmp_path, content)
    done = CliRunner().invoke(app, ["eval", "answers", "--data", str(data), "--url", service_url, *arguments])
    assert done.exit_code == 1
    assert named in " ".join(done.stderr.split())
