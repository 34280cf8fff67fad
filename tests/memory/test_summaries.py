"""Summaries: what is kept, what is refused, and which is made when."""

import asyncio
import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.text.chat_format import ChatTokenizer
from memory.errors import SummaryRefusedError
from memory.messages import Message, Role
from memory.strategies import parse_strategy
from memory.strategies.base import Room
from memory.summaries.checks import check_summary
from memory.summaries.extractive import ExtractiveSummariser, sentences
from memory.summaries.plan import enters_at, next_step
from memory.summaries.summariser import Names, Task
from memory.summaries.summary import as_message
from memory.summaries.written import WrittenSummariser
from tests.memory.naive_history import NaiveHistory, history_of
from tests.texts import texts

ROOM = Room(now=3000, steady=3000, context_window=4096)
NAMES = Names("Ann", "Pippa")


def embed(lines: Sequence[str]) -> Sequence[Sequence[float]]:
    """A direction for each text, the same every time."""
    vectors = []
    for line in lines:
        seed = int.from_bytes(hashlib.sha256(line.encode()).digest()[:4], "big")
        vector = np.random.default_rng(seed).standard_normal(16)
        vectors.append((vector / np.linalg.norm(vector)).tolist())
    return vectors


def said(*contents: str) -> list[Message]:
    roles: tuple[Role, Role] = ("user", "assistant")
    return [
        Message(f"msg_{number}", number // 2, roles[number % 2], content, ())
        for number, content in enumerate(contents)
    ]


def count_with(tokenizer: ChatTokenizer, text: str) -> int:
    return len(tokenizer.encode_message("system", as_message(text)))


@settings(max_examples=60, deadline=None)
@given(previous=texts, contents=st.lists(texts, max_size=8), max_tokens=st.integers(32, 200))
def test_an_extractive_summary_says_only_what_was_said_and_fits(
    chat_tokenizer: ChatTokenizer, previous: str, contents: list[str], max_tokens: int
) -> None:
    summariser = ExtractiveSummariser(embed, lambda text: count_with(chat_tokenizer, text))
    task = Task(previous, said(*contents), NAMES, max_tokens)
    text = asyncio.run(summariser.summarise(task))
    assert not text or count_with(chat_tokenizer, text) <= max_tokens
    kept = {line.strip() for line in previous.splitlines()}
    told = {
        f"{NAMES.of(message.role)}: {sentence}"
        for message in task.turns
        for sentence in sentences(message.content)
    }
    assert set(text.splitlines()) <= kept | told
    assert text == asyncio.run(summariser.summarise(task)), "the same again"


def test_names_numbers_and_what_users_say_of_themselves_are_kept_before_small_talk(
    chat_tokenizer: ChatTokenizer,
) -> None:
    turns = said(
        "Hello there! How are you?",
        "I am fine, thanks! How are you?",
        "My sister Hanna moved to Oslo in 2019. It was quite something.",
        "Oh, really? That is nice.",
        "Well, you know how it goes.",
        "Yes, I do.",
    )
    summariser = ExtractiveSummariser(embed, lambda text: count_with(chat_tokenizer, text))
    text = asyncio.run(summariser.summarise(Task("", turns, NAMES, 48)))
    assert "Ann: My sister Hanna moved to Oslo in 2019." in text.splitlines()


@pytest.mark.parametrize("day", ["on Sunday", "on Tuesdays", "last March", "in JULY", "as I'd said"])
def test_days_months_and_i_are_no_names(chat_tokenizer: ChatTokenizer, day: str) -> None:
    lines = [f"We bought {what} {day}." for what in ("socks", "a rug", "two lamps", "candles")]
    turns = said(*(text for line in lines for text in (line, "I see.")), "We live in Oslo.", "Good to know.")
    summariser = ExtractiveSummariser(embed, lambda text: count_with(chat_tokenizer, text))
    text = asyncio.run(summariser.summarise(Task("", turns, NAMES, 24)))
    assert "Ann: We live in Oslo." in text.splitlines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two!  Three?\nFour", ["One.", "Two!", "Three?", "Four"]),
        ("안녕하세요. 저는 민수예요!", ["안녕하세요.", "저는 민수예요!"]),
        ("我叫小明。我住在北京。", ["我叫小明。", "我住在北京。"]),
        ("... !!! \n\n", []),
        ("x" * 400, ["x" * 300 + " …"]),
    ],
)
def test_sentences_of_several_scripts_are_found(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (" \n…", "empty"),
        ("the same thing again and again " * 5, "repeats itself"),
        ("You keep the notes of a long conversation and so on", "echoes"),
        (" ".join(f"word{number}" for number in range(40)), "no shorter"),
    ],
)
def test_a_written_summary_that_is_no_good_is_refused_and_the_extractive_one_serves(
    chat_tokenizer: ChatTokenizer, text: str, why: str
) -> None:
    instructions = "You keep the notes of a long conversation. Write them."
    source = "Ann: I was born in Ghent in 1987. Pippa: In Ghent! What a town, with all its boats."
    with pytest.raises(SummaryRefusedError, match=why):
        check_summary(text, source=source, instructions=instructions)

    async def write(_instructions: str, _source: str, _max_tokens: int) -> str:
        return text

    count = lambda text: count_with(chat_tokenizer, text)  # noqa: E731
    summariser = WrittenSummariser(
        write,
        count,
        author="a model",
        otherwise=ExtractiveSummariser(embed, count),
        instructions=instructions,
    )
    task = Task("", said("I was born in Ghent in 1987.", "In Ghent! What a town."), NAMES, 64)
    assert "Ann: I was born in Ghent in 1987." in asyncio.run(summariser.summarise(task))
    assert summariser.author == "extractive"


def test_a_written_summary_gets_what_was_before_and_ends_with_a_whole_sentence(
    chat_tokenizer: ChatTokenizer,
) -> None:
    sources = []

    async def write(_instructions: str, source: str, _max_tokens: int) -> str:
        sources.append(source)
        return "Ann was born in Ghent. She likes boats, and most of all she"

    count = lambda text: count_with(chat_tokenizer, text)  # noqa: E731
    summariser = WrittenSummariser(
        write, count, author="a model", otherwise=ExtractiveSummariser(embed, count)
    )
    turns = said("I do like boats, mostly those with sails, on any lake.", "So do I, so do I.")
    text = asyncio.run(summariser.summarise(Task("Ann was born in Ghent.", turns, NAMES, 64)))
    assert text == "Ann was born in Ghent."
    assert summariser.author == "a model"
    assert "Ann was born in Ghent." in sources[0]
    assert "Ann: I do like boats" in sources[0]


@settings(max_examples=60, deadline=None)
@given(
    budget=st.integers(100, 600),
    ratio=st.floats(0.1, 1.0),
    turns=st.integers(1, 60),
    name=st.sampled_from(["summary", "summary_buffer"]),
)
def test_every_turn_that_leaves_is_summarised_once_and_before_the_cut(
    chat_tokenizer: ChatTokenizer, budget: int, ratio: float, turns: int, name: str
) -> None:
    memory = {"strategy": name, "max_summary_tokens": 64}
    if name == "summary_buffer":
        memory |= {"token_budget": budget, "retention_ratio": ratio}
    strategy = parse_strategy(memory)
    whole = history_of(
        [("user", "What grows here?"), ("assistant", "Beans, and more.")] * turns, chat_tokenizer
    )

    async def chat() -> None:
        watermarks = [0]
        for count in range(1, turns + 1):
            history: NaiveHistory = whole.upto(count)

            async def before(turn: int) -> int:
                return max(mark for mark in watermarks if mark <= turn)

            first = await strategy.first_turn(history, ROOM)
            while step := await next_step(strategy, history, ROOM, summarised_before=before):
                assert step.first_turn == max(mark for mark in watermarks if mark <= step.through_turn)
                assert step.first_turn < step.through_turn <= count
                watermarks.append(step.through_turn)
            assert first in watermarks, "the window that the next message meets has its summary"
        assert watermarks == sorted(set(watermarks))

    asyncio.run(chat())


@given(through=st.integers(0, 50), used=st.one_of(st.none(), st.integers(0, 50)))
def test_a_summary_enters_with_a_cut_and_not_before_what_it_tells_has_left(
    through: int, used: int | None
) -> None:
    enters = enters_at(through, used)
    assert enters >= through
    assert used is None or enters > used
