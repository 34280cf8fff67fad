"""The evaluation of retention: its chats are what they are said to be, and its figures right where they are
known."""

import json
import re
from dataclasses import replace
from itertools import chain
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from app.cli.main import app
from app.settings import Settings
from evals.harness.chats import Chat
from evals.harness.controls import CONTROLS
from evals.harness.counting import service_encoder
from evals.harness.errors import EvaluationError
from evals.harness.memories import memories
from evals.harness.result import Result, read_result
from evals.harness.service import evaluated_service
from evals.harness.strategies import STRATEGIES
from evals.retention.chats import LANGUAGES, retention_chat
from evals.retention.language import Language, filled
from evals.retention.measure import FIGURES, tells
from evals.retention.run import Plan, evaluate
from llm.text.chat_format import ChatTokenizer

each_language = pytest.mark.parametrize("language", LANGUAGES.values(), ids=list(LANGUAGES))
BUDGET = 256


@each_language
def test_no_value_is_part_of_another_or_of_small_talk(language: Language) -> None:
    values = [value for kind in language.kinds for value in kind.values]
    assert len(values) == len(set(values))
    for value in values:
        assert not tells([other for other in values if other != value], value), value
    words = chain.from_iterable(chain.from_iterable(topic.words.values()) for topic in language.topics)
    lines = chain.from_iterable((*topic.lines, *topic.replies) for topic in language.topics)
    texts = [*words, *lines, *language.acknowledgements]
    texts += [kind.question for kind in language.kinds]
    assert [value for value in values if tells(texts, value)] == []


@each_language
def test_every_sentence_of_a_kind_tells_its_value_and_every_ending_says_so(language: Language) -> None:
    assert len({kind.name for kind in language.kinds}) == len(language.kinds) >= 20
    for kind in language.kinds:
        for sentence in (*kind.tellings, *kind.changes, *kind.endings, kind.answer):
            for value in kind.values:
                assert tells([filled(sentence, v=value)], value), sentence
        for ending in kind.endings:
            assert any(word in ending.casefold() for word in language.ended), ending


@each_language
def test_small_talk_hardly_repeats_itself(language: Language) -> None:
    chats = [[message for message, _ in retention_chat(seed, language, 200).chat.turns] for seed in range(20)]
    assert all(len(set(said)) == 200 for said in chats)
    assert len(set(chain.from_iterable(chats))) > 2500


@each_language
@pytest.mark.parametrize("turns", [13, 40, 200])
def test_facts_are_told_where_they_are_said_to_be_and_nowhere_else(language: Language, turns: int) -> None:
    for seed in range(5):
        made = retention_chat(seed, language, turns)
        assert retention_chat(seed, language, turns) == made
        said = [" ".join(turn) for turn in made.chat.turns]
        assert len(said) == turns
        for told in made.told:
            assert abs(turns - 1 - told.turn - told.depth) <= 1
            if told.value is not None:
                assert [turn for turn, text in enumerate(said) if tells([text], told.value)] == [told.turn]
            if told.old is not None:
                places = [turn for turn, text in enumerate(said) if tells([text], told.old)]
                assert places[0] < told.turn
                assert (told.turn in places) == (told.state == "ended")
        assert {told.state for told in made.told} >= {"told", "changed"}


def test_seeds_differ_and_a_chat_that_is_too_short_is_refused() -> None:
    english = LANGUAGES["English"]
    assert retention_chat(0, english, 40).chat.turns != retention_chat(1, english, 40).chat.turns
    with pytest.raises(EvaluationError, match="13 or more"):
        retention_chat(0, english, 12)


def test_a_value_is_found_as_a_word_and_in_korean_before_its_particle() -> None:
    assert tells(["my cat is CLEO."], "Cleo")
    assert not tells(["Cleopatra"], "Cleo")
    assert tells(["강아지 초코가"], "초코")
    assert filled("{v}(을/를) {v}(으로/로)", v="서울") == "서울을 서울로"
    assert filled("{v}(을/를) {v}(으로/로)", v="부산") == "부산을 부산으로"
    assert filled("{v}(이야/야)", v="제주") == "제주야"


@pytest.fixture(scope="module")
def result(
    service_url: str, tiny_model: Path, models_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Result:
    """By the command, on a running service; its report beside it."""
    folder = tmp_path_factory.mktemp("retention")
    command = ["eval", "retention", "--url", service_url, "--seeds", "1", "--turns", "18"]
    command += ["--budget", str(BUDGET), "--language", "English", "--replies"]
    command += ["--memories", "none,random,everything,oracle,token_buffer,combined"]
    command += ["--json", str(folder / "a.json"), "--html", str(folder / "a.html")]
    environment = {"PERDURE_MODEL": str(tiny_model), "PERDURE_MODELS": str(models_folder), "COLUMNS": "160"}
    done = CliRunner().invoke(app, command, env=environment)
    assert done.exit_code == 0, done.output
    assert "prefers old" in done.output
    page = (folder / "a.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 2
    assert not re.search(r"(?:src|href)=\"(?!#)", page)
    assert "combined" in page
    return read_result(folder / "a.json")


def test_the_controls_are_what_they_must_be(result: Result) -> None:
    held = {
        memory: {row["held"] for row in result.of(memory, result.rows) if row["held"] is not None}
        for memory in result.memories
    }
    assert held["none"] == {False}
    assert held["oracle"] == held["everything"] == {True}
    assert not any(row["stale"] for row in result.rows if row["memory"] in ("none", "oracle", "everything"))


def test_every_fact_is_asked_of_every_memory_and_scored(result: Result) -> None:
    facts = {row["fact"] for row in result.rows}
    assert len(facts) == 6
    assert len(result.rows) == len(facts) * len(result.memories)
    for row in result.rows:
        has_value = row["state"] != "ended"
        assert (row["right"] is not None) == (row["margin"] is not None) == has_value
        assert (row["prefers_old"] is not None) == (row["state"] == "changed")
        assert (row["exact"] is not None) == has_value
        assert row["right"] is None or row["right"] == (row["margin"] > 0)


def test_the_result_says_what_it_was_made_with(result: Result) -> None:
    assert result.task.keys() == {"seeds", "turns", "languages", "chats"}
    assert result.settings["memories"]["English"][str(BUDGET)]["combined"]["token_budget"] == BUDGET
    assert {"perdure", "torch", "transformers", "sentence-transformers", "chromadb"} <= result.versions.keys()
    assert result.machine["cores"] > 0
    assert result.settings["embedding_model"]


def test_with_a_persona_the_same_facts_are_asked_for_behind_it(service_url: str, settings: Settings) -> None:
    plan = Plan(
        seeds=1, turns=18, languages=("English",), memories=("none", "token_buffer"), with_scores=False
    )
    told = []
    for each in (
        plan,
        replace(plan, with_persona=True),
        replace(plan, with_persona=True, reminder_depth=0),
    ):
        with evaluated_service(settings, service_url) as service:
            told.append(evaluate(each, service, settings))
    for memory in plan.memories:
        facts, *others = ([row["fact"] for row in each.of(memory, each.rows)] for each in told)
        assert others == [facts, facts]
    prompts = [each.of("none", each.rows)[0]["prompt_tokens"] for each in told]
    assert prompts[1] > prompts[0] + 50, "the control knows the persona, and no reminder"
    reminded = [each.of("token_buffer", each.rows)[0]["prompt_tokens"] for each in told[1:]]
    assert reminded[1] > reminded[0]


def test_nothing_is_left_on_the_service(result: Result, service_url: str) -> None:
    assert result.rows
    assert httpx.get(f"{service_url}/v1/sessions").json()["data"] == []


def test_what_was_made_is_deleted_after_an_error_too(service_url: str, settings: Settings) -> None:
    chat = retention_chat(0, LANGUAGES["English"], 13).chat

    def interrupted() -> None:
        with evaluated_service(settings, service_url) as service:
            service.session(chat, {"strategy": "combined"})
            [session] = httpx.get(f"{service_url}/v1/sessions").json()["data"]
            assert session["user_id"].startswith("eval-")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert httpx.get(f"{service_url}/v1/sessions").json()["data"] == []


def test_every_strategy_keeps_within_the_budget(
    service_url: str, settings: Settings, tokenizer: ChatTokenizer
) -> None:
    made = retention_chat(1, LANGUAGES["English"], 30)
    asked = made.told[0].asked
    beside = len(tokenizer.encode_preamble(None)) + len(tokenizer.encode_message("user", asked.content))
    beside += len(tokenizer.generation_prompt)
    with evaluated_service(settings, service_url) as service:
        names = ["newest", "random", *(name for name in STRATEGIES if name != "sliding_window")]
        for memory in memories(names, BUDGET, service, tokenizer, turn_tokens=36):
            window = memory.window(made.chat, asked)
            assert window.messages[-1] == ("user", asked.content)
            assert beside < window.prompt_tokens <= BUDGET + beside, memory.name


def test_a_service_that_counts_otherwise_is_refused_and_so_is_an_unknown_memory(
    service_url: str, settings: Settings, tokenizer: ChatTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with evaluated_service(settings, service_url) as service:
        with pytest.raises(EvaluationError, match=r"no memory sieve; there are none, newest, .*combined"):
            memories(["sieve"], BUDGET, service, tokenizer, turn_tokens=36)
        monkeypatch.setattr("evals.harness.counting.turn_tokens", lambda *_: 1)
        with pytest.raises(EvaluationError, match="PERDURE_MODEL"):
            service_encoder(service, settings, Chat("short", (("Hello!", "Hello."),)))


def test_every_figure_and_every_memory_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for name in (*CONTROLS, *STRATEGIES):
        assert f"| `{name}` |" in page
    titles = {
        title for row in re.findall(r"^\| ([a-z, ]+) \|", page, flags=re.M) for title in row.split(", ")
    }
    assert {figure.title for figure in FIGURES} <= titles


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--language", "Latin"], "no chats in Latin"),
        (["--budget", "100"], "budget of 100 tokens is too small"),
        (["--reminder-depth", "0"], "only a persona has a reminder"),
        (["--url", "http://127.0.0.1:9"], "no service is ready"),
    ],
)
def test_what_cannot_be_asked_for_is_said_in_a_line(options: list[str], named: str) -> None:
    done = CliRunner().invoke(app, ["eval", "retention", *options])
    assert done.exit_code == 1
    assert named in json.dumps(done.output.replace("\n", " "))
