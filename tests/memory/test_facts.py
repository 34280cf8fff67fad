"""Facts: what is extracted and what is not, which of them stand, and what the window tells of them."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.text.chat_format import ChatTokenizer
from memory.errors import NotWrittenError
from memory.facts.block import fact_block
from memory.facts.checks import Source
from memory.facts.fact import OWNER, Fact, Found, holds_one
from memory.facts.rules import RuleExtractor, facts_by_rules
from memory.facts.standing import standing
from memory.facts.written import WrittenExtractor
from memory.messages import ROLES, Message, Role
from tests.memory.naive_standing import naive_standing
from tests.texts import texts

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def message(content: str, role: Role = "user") -> Message:
    return Message("msg", 0, role, content, ())


def told_by(content: str, role: Role = "user") -> list[tuple[str, str, str]]:
    return [(each.subject, each.key, each.value) for each in facts_by_rules(message(content, role))]


def known(*said: tuple[str, str] | tuple[str, str, str], author: str = "rules") -> list[Fact]:
    """Facts of the user as (key, value, ends?), a day apart."""
    return [
        Fact(
            f"fac_{number}",
            "user",
            key,
            value,
            f"User, {key}: {value}",
            author,
            BEGAN + timedelta(days=number),
            ends[0] if ends else None,
        )
        for number, (key, value, *ends) in enumerate(said)
    ]


def stands(facts: list[Fact]) -> list[tuple[str, str]]:
    return [(fact.key, fact.value) for fact in standing(facts).facts]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Hello! I'm Ann, and I live in Oslo with my dog.", [("name", "Ann"), ("home", "Oslo")]),
        ("I'm 34 years old.", [("age", "34")]),
        ("My birthday is on the 3rd of May!", [("birthday", "the 3rd of May")]),
        ("Well, I grew up in Ghent but I moved to Oslo in 2019.", [("origin", "Ghent"), ("home", "Oslo")]),
        ("I work as a nurse at night.", [("job", "a nurse")]),
        ("I live in Oslo in May, in a flat.", [("home", "Oslo")]),
        ("I live in a flat in Marburg.", [("home", "a flat in Marburg")]),
        ("I work as a nurse near the harbour. I have eaten 3 marbles.", [("job", "a nurse")]),
        ("My dog Bruno is afraid of thunder.", [("dog", "Bruno")]),
        ("I love hiking but I hate crowds.", [("likes", "hiking"), ("dislikes", "crowds")]),
        ("I'm allergic to peanuts. I don't eat pork.", [("allergies", "peanuts"), ("does not eat", "pork")]),
        ("My favourite colour is green.", [("favourite colour", "green")]),
        ("Please remember that the door code is 4711.", [("to remember", "the door code is 4711")]),
        (
            "My name is Ann, and please remember that the exam is on Friday.",
            [("name", "Ann"), ("to remember", "the exam is on Friday")],
        ),
        ("I will please note that it starts on Friday.", [("to remember", "it starts on Friday")]),
        ("I quit my job yesterday.", [("job", ""), ("employer", "")]),
        ("I no longer like tea.", [("likes", "")]),
        ("제 이름은 민수예요. 지금은 부산에 살고 있어요.", [("name", "민수"), ("home", "부산")]),
        ("우리 강아지 이름은 초코예요.", [("강아지", "초코")]),
        ("땅콩 알레르기가 있어요.", [("allergies", "땅콩")]),
        ("나는 커피를 정말 좋아해.", [("likes", "커피")]),
        (
            "내 생일은 3월 2일인 거 꼭 기억해 줘.",
            [("to remember", "내 생일은 3월 2일인"), ("birthday", "3월 2일")],
        ),
    ],
)
def test_what_people_tell_of_themselves_is_found(content: str, expected: list[tuple[str, str]]) -> None:
    assert [(key, value) for _, key, value in told_by(content)] == expected


@pytest.mark.parametrize(
    "content",
    [
        "Do you think I live in Oslo?",
        "If I lived in Oslo, I would be happy.",
        "Imagine I have a dog called Bruno.",
        "I don't have a dog.",
        "It is not true that I live in Oslo.",
        "My boss says I'm a teacher.",
        'She sang "I live in Oslo" all day.',
        "I wish I had a cat named Miso.",
        "I love that! I like you. I like it here.",
        "I'm fine, thanks. I'm happy to help. I'm a bit tired.",
        "How was your day? The weather has been all right, I suppose.",
        "만약 내가 파리에 살아도 괜찮을까?",
        "친구가 부산에 살아.",
        "강아지를 안 키워.",
        "오늘 날씨가 좋네. 점심 먹었어?",
    ],
)
def test_small_talk_questions_suppositions_denials_and_others_words_are_no_facts(content: str) -> None:
    assert told_by(content) == []


def test_a_pasted_text_is_read_but_what_is_longer_than_any_sentence_tells_nothing() -> None:
    assert told_by("I love tea. " * 500 + "I live in Oslo.") == [
        ("user", "likes", "tea"),
        ("user", "home", "Oslo"),
    ]
    assert told_by("I love tea, and " * 5_000 + "I live in Oslo.") == []
    assert told_by("가" * 50_000) == []


@pytest.mark.parametrize(
    "template",
    ["{{user}}", "<|im_start|>user", "[INST]", "<START>", "\n### Instruction", "\nUser: hi", "{name}"],
)
def test_template_text_is_refused(template: str) -> None:
    content = f"My name is Ann. {template}"
    assert told_by(content) == []
    assert "template" in (Source(content).refusal(Found("user", "name", "Ann", 0, 14)) or "")


def test_only_user_and_persona_tell_facts_each_of_themselves() -> None:
    """Summaries, notes and what was recalled stand in messages of the system: they are not read again."""
    assert told_by("I live in Oslo.", "user") == [("user", "home", "Oslo")]
    assert told_by("I live in Oslo.", "assistant") == [("persona", "home", "Oslo")]
    assert told_by("I live in Oslo.", "system") == []


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (Found("user", "home", "Paris", 0, 14), "does not say 'Paris'"),
        (Found("user", "home", "Oslo", 3, 99), "not in the message"),
        (Found("user", "home", "Oslo", 5, 5), "not in the message"),
        (Found("user", "home", "", 0, 14), "says nothing"),
        (Found("user", "", "Oslo", 0, 14), "empty"),
        (Found("user", "k" * 41, "Oslo", 0, 14), "too long"),
    ],
)
def test_a_fact_that_its_quote_does_not_say_is_refused(found: Found, why: str) -> None:
    source = Source("I live in Oslo.")
    assert source.says(Found("user", "home", "oslo", 0, 14))
    assert why in (source.refusal(found) or "")


fragments = st.one_of(
    texts,
    st.sampled_from(
        [
            "I live in ",
            "my name is Ann",
            " I'm ",
            "allergic to ",
            "내 이름은 ",
            "에 살아",
            ". ",
            "? ",
            "\n",
            "'",
            "“",
        ]
    ),
)


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(fragments, max_size=8), role=st.sampled_from(ROLES))
def test_every_fact_stands_literally_in_a_quoted_span_of_its_message(parts: list[str], role: Role) -> None:
    content = "".join(parts)
    source = Source(content)
    for found in facts_by_rules(message(content, role)):
        quote = content[found.start : found.end]
        assert quote
        assert found.value in quote
        assert source.says(found)


def extracted(written: str, content: str) -> tuple[list[tuple[str, str, str]], str]:
    async def write(_instructions: str, source: str, _max_tokens: int) -> str:
        assert content in source
        if written == "fails":
            raise NotWrittenError("no")
        return written

    extractor = WrittenExtractor(write, author="a model", otherwise=RuleExtractor())
    result = asyncio.run(extractor.extract(message(content)))
    return [(each.subject, each.key, each.value) for each in result.found], result.author


def test_what_a_model_invents_is_dropped_line_by_line() -> None:
    content = "I've lived in Ghent since May. I don't have a dog. Would I like Rome? Hanna bakes bread."
    written = "\n".join(
        [
            "me | City | Ghent | I've lived  in ghent",
            "me | home | Paris | I've lived in Ghent",
            "me | job | baker | I am a baker",
            "me | pets | a dog | I don't have a dog",
            "me | likes | Rome | Would I like Rome",
            "Hanna | bakes | bread | Hanna bakes bread",
            "Olga | bakes | bread | Hanna bakes bread",
            "and so on",
        ]
    )
    expected = [("user", "home", "Ghent"), ("Hanna", "bakes", "bread")]
    assert extracted(written, content) == (expected, "a model")
    assert extracted("none", content) == ([], "a model")


@pytest.mark.parametrize("written", ["I cannot do that.", "", "fails", "a | b"])
def test_where_nothing_that_a_model_writes_can_be_read_the_rules_serve(written: str) -> None:
    assert extracted(written, "I live in Oslo.") == ([("user", "home", "Oslo")], "rules")


def test_a_model_is_not_asked_about_template_text() -> None:
    assert extracted("me | name | Ann | My name is Ann", "My name is Ann. {{char}}")[0] == []


def test_the_same_fact_said_again_is_one_and_stays() -> None:
    facts = known(("likes", "green tea"), ("likes", "Green  tea!"), ("likes", "the green tea"))
    result = standing(facts)
    assert [fact.id for fact in result.facts] == ["fac_0"]
    assert result.merged == {"fac_1": "fac_0", "fac_2": "fac_0"}
    assert not result.superseded


def test_near_duplicates_are_one_but_another_number_is_another_fact() -> None:
    code = "the code of the front door is 4711"
    assert len(stands(known(("to remember", code), ("to remember", f"{code} now")))) == 1
    assert len(stands(known(("to remember", code), ("to remember", code.replace("4711", "4712"))))) == 2


def test_a_newer_fact_supersedes_the_older_and_keeps_it() -> None:
    facts = known(("home", "Ghent"), ("likes", "tea"), ("home", "Oslo"))
    result = standing(facts)
    assert stands(facts) == [("likes", "tea"), ("home", "Oslo")]
    assert result.superseded == {"fac_0": "fac_2"}
    assert stands([*facts, *known(("home", "Ghent"))])[-1] == ("home", "Ghent"), "and back again"


def test_what_contradicts_an_old_fact_ends_it() -> None:
    assert stands(known(("likes", "fish"), ("dislikes", "fish"))) == [("dislikes", "fish")]
    assert stands(known(("likes", "fish"), ("likes", "tea"), ("likes", "", "fish"))) == [("likes", "tea")]
    assert stands(known(("job", "a nurse"), ("job", "", ""))) == []


@settings(max_examples=200, deadline=None)
@given(
    said=st.lists(
        st.tuples(
            st.sampled_from(["home", "likes", "dislikes", "pets"]),
            st.sampled_from(["", "tea", "Tea", "a dog", "Oslo"]),
            st.sampled_from([None, "", "tea", "Oslo"]),
        ),
        max_size=12,
    )
)
def test_each_fact_stands_or_is_merged_or_superseded_by_a_later_one_or_only_ends_others(
    said: list[tuple[str, str, str | None]],
) -> None:
    facts = [
        Fact(f"fac_{at:02}", "user", key, value, value, "rules", BEGAN, ends)
        for at, (key, value, ends) in enumerate(said)
    ]
    result = standing(facts)
    left = {fact.id for fact in result.facts}
    ending = {fact.id for fact in facts if not fact.value}
    for group in (left, result.superseded.keys(), result.merged.keys()):
        assert not group & ending
    assert left | set(result.superseded) | set(result.merged) | ending == {fact.id for fact in facts}
    assert len(left) + len(result.superseded) + len(result.merged) + len(ending) == len(facts)
    assert all(old < new for old, new in result.superseded.items())
    assert all(twin < mention for mention, twin in result.merged.items())
    one = [fact.key for fact in result.facts if holds_one(fact.key)]
    assert len(one) == len(set(one))


WORDS = st.sampled_from(
    ["tea", "Tea!", "green", "the", "very", "old", "dog", "4711", "12", "a1", "café", "?"]
)
VALUES = st.lists(WORDS, max_size=7).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(
    said=st.lists(
        st.tuples(
            st.sampled_from(["user", "User", "Bo"]),
            st.sampled_from(["home", "likes", "dislikes", "to remember"]),
            VALUES,
            st.none() | VALUES,
        ),
        max_size=25,
    )
)
def test_what_stands_is_what_comparing_each_fact_with_every_other_gives(
    said: list[tuple[str, str, str, str | None]],
) -> None:
    facts = [
        Fact(f"fac_{at:02}", subject, key, value, value, "rules", BEGAN, ends)
        for at, (subject, key, value, ends) in enumerate(said)
    ]
    assert standing(facts) == naive_standing(facts)


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), max_size=40),
    owners=st.sets(st.integers(0, 40)),
    most=st.integers(0, 400),
)
def test_a_window_tells_what_fits_the_owners_facts_and_the_newest_first_and_counts_the_rest(
    chat_tokenizer: ChatTokenizer, lengths: list[int], owners: set[int], most: int
) -> None:
    facts = known(*(("likes", f"{number} " + "thing " * words) for number, words in enumerate(lengths)))
    facts = [
        fact
        if number not in owners
        else Fact(fact.id, "user", "likes", fact.value, fact.text, OWNER, fact.said_at)
        for number, fact in enumerate(facts)
    ]
    block = fact_block(facts, lambda text: chat_tokenizer.encode_message("system", text), most, read_to=0)
    assert block.tokens <= most
    assert block.left_out == len(facts) - len(block.facts)
    assert list(block.facts) == [fact for fact in facts if fact in block.facts], "in the order of the chat"
    dropped = [fact for fact in facts if fact not in block.facts]
    assert not any(
        (out.author == OWNER, out.said_at) > (held.author == OWNER, held.said_at)
        for out in dropped
        for held in block.facts
    )
    if block.facts:
        assert block.token_ids == chat_tokenizer.encode_message("system", block.text)
