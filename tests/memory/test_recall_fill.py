"""What is told of what was recalled: within its budget, whole, by time, dated and attributed."""

from collections.abc import Sequence
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.text.chat_format import ChatTokenizer
from memory.context import Segment
from memory.recall.fill import DOCUMENTS_HEADING, HEADING, fill
from memory.recall.passage import Passage, PassageKey
from memory.recall.ranking import Ranked
from tests.memory.naive_recall import said

texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=80)
recalled = st.lists(st.tuples(texts, st.integers(0, 3)), max_size=12).flatmap(
    lambda drawn: st.permutations(
        [
            passage
            for day in range(4)
            for passage in said(
                *(f"{n} {text}" for n, (text, at) in enumerate(drawn) if at == day),
                source=f"ses_{day}",
                days=day,
            )
        ]
    )
)


def ranked(passages: Sequence[Passage]) -> list[Ranked]:
    return [Ranked(passage, -float(place), "") for place, passage in enumerate(passages)]


def told(segment: Segment | None) -> str:
    assert segment is not None
    [message] = segment.messages
    assert message.role == "system"
    return message.content


@settings(deadline=None)
@given(recalled, st.integers(0, 300), st.sets(st.integers(0, 3)))
def test_a_budget_is_kept_and_what_is_told_is_whole_by_time_and_not_held(
    chat_tokenizer: ChatTokenizer, passages: list[Passage], budget: int, held_days: set[int]
) -> None:
    held = {passage.message_id or "" for passage in passages if int(passage.key.source[4:]) in held_days}
    segment = fill(ranked(passages), budget, chat_tokenizer, held)
    if segment is None:
        return
    assert segment.kind == "recalled"
    assert segment.tokens <= budget
    text = told(segment)
    assert segment.token_ids == chat_tokenizer.encode_message("system", text)
    lines = text.split("\n")
    assert lines[0] == HEADING
    first, *later = [line for line in lines[1:] if line.startswith("[")]
    assert datetime.strptime(first, "[%a %d %B %Y]").year == 2026
    days = [first, *(f"{line[:-1]} 2026]" for line in later)]
    times = [datetime.strptime(line, "[%a %d %B %Y]") for line in days]
    assert times == sorted(set(times))
    free = [passage for passage in passages if passage.message_id not in held]
    spoken = [line for line in lines[1:] if not line.startswith("[")]
    assert spoken
    assert set(spoken) <= {f"  {passage.speaker}: {passage.text}" for passage in free}
    assert len(spoken) == len(set(zip(_days(lines), spoken, strict=True)))


@settings(deadline=None)
@given(recalled)
def test_with_room_for_all_everything_is_told_in_order(
    chat_tokenizer: ChatTokenizer, passages: list[Passage]
) -> None:
    segment = fill(ranked(passages), 100_000, chat_tokenizer, ())
    by_time = sorted(passages, key=lambda passage: (passage.key.source, passage.key.number))
    expected = [f"  {passage.speaker}: {passage.text}" for passage in by_time]
    if not passages:
        assert segment is None
        return
    spoken = [line for line in told(segment).split("\n")[1:] if not line.startswith("[")]
    assert spoken == expected


def test_the_best_are_told_when_not_all_fit(chat_tokenizer: ChatTokenizer) -> None:
    passages = said(*(f"I have {n} apples in my basket today." for n in range(50)))
    best_first = passages[20:] + passages[:20]
    text = told(fill(ranked(best_first), 120, chat_tokenizer, ()))
    spoken = text.split("\n")[2:]
    assert 4 < len(spoken) < 10
    assert spoken == [f"  {passage.speaker}: {passage.text}" for passage in best_first[: len(spoken)]]


def test_a_passage_that_does_not_fit_is_passed_over_for_smaller_ones(chat_tokenizer: ChatTokenizer) -> None:
    passages = said("a very long story " * 100, "Rex.")
    assert told(fill(ranked(passages), 60, chat_tokenizer, ())).endswith("Bo: Rex.")


def test_nothing_is_told_if_nothing_fits(chat_tokenizer: ChatTokenizer) -> None:
    assert fill(ranked(said("I have a dog.")), 10, chat_tokenizer, ()) is None
    assert fill([], 1000, chat_tokenizer, ()) is None


def test_pieces_of_one_message_are_told_as_one(chat_tokenizer: ChatTokenizer) -> None:
    first, second = said("First this.", "Then that.", speakers=("Ada", "Ada"))
    one = [
        Passage(piece.key, piece.text, "Ada", "user", first.said_at, 0, "msg_1") for piece in (second, first)
    ]
    assert told(fill(ranked(one), 1000, chat_tokenizer, ())).endswith("\n  Ada: First this. Then that.")


def test_a_year_is_told_where_it_begins(chat_tokenizer: ChatTokenizer) -> None:
    passages = [*said("Old.", days=-400), *said("New."), *said("Newer.", days=1), *said("Next.", days=365)]
    days = [
        line for line in told(fill(ranked(passages), 1000, chat_tokenizer, ())).split("\n") if line[0] == "["
    ]
    assert days == [
        "[Sun 1 December 2024]",
        "[Mon 5 January 2026]",
        "[Tue 6 January]",
        "[Tue 5 January 2027]",
    ]


@pytest.mark.parametrize("citation", ["guide.pdf, page 3", "notes.md, Setup"])
def test_pieces_of_documents_are_told_with_their_citation(
    chat_tokenizer: ChatTokenizer, citation: str
) -> None:
    piece = Passage(PassageKey("doc_1", 4), "Press the red button.", citation=citation)
    text = told(fill(ranked([piece, *said("I pressed it.")]), 1000, chat_tokenizer, ()))
    quotes = f"{DOCUMENTS_HEADING}\n[{citation}]\n  Press the red button."
    assert text == f"{HEADING}\n[Mon 5 January 2026]\n  Ada: I pressed it.\n{quotes}"
    assert told(fill(ranked([piece]), 1000, chat_tokenizer, ())) == quotes


def _days(lines: Sequence[str]) -> list[str]:
    """The day above each line that was spoken."""
    days, day = [], ""
    for line in lines[1:]:
        if line.startswith("["):
            day = line
        else:
            days.append(day)
    return days


def test_what_was_said_twice_at_the_same_time_is_told_once(chat_tokenizer: ChatTokenizer) -> None:
    passages = said("I have a dog.", "Nice.", "I have a dog.")
    assert told(fill(ranked(passages), 1000, chat_tokenizer, ())).count("I have a dog.") == 1
