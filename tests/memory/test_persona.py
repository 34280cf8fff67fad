"""What a persona tells the model: always in the same order, for one user, with names put in once."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.text.chat_format import ChatTokenizer
from memory.persona import (
    ChatUser,
    ExampleExchange,
    Persona,
    SpeechRule,
    persona_segments,
    unaddressed_tokens,
)
from memory.templates import clock_template, clock_values, fill
from tests.texts import texts

WHOLE = Persona(
    "Pippa",
    "You are {{char}}, who sails with {{USER}}.",
    (ExampleExchange("I am {{user}}.", "And I {{Char}}!"),),
    style="Short. No {{unknown}}.",
    facts=("{{char}} has a parrot.", "Born at sea."),
    speech_rules=(SpeechRule("dad", "반말 with {{user}}"), SpeechRule(None, "존댓말")),
    user_name="Matey",
    greeting="Ahoy, {{user}}!",
    forbidden_phrases=("{{user}}:",),
)


@given(instructions=texts)
def test_instructions_alone_are_the_system_text_byte_for_byte(instructions: str) -> None:
    told = Persona("Pippa", instructions).met_by(ChatUser()).system_message
    assert told == (instructions if instructions.strip() else "You are Pippa.")


def test_the_system_text_has_a_fixed_order_and_only_what_is_there() -> None:
    assert WHOLE.met_by(ChatUser("somebody")).system_message == (
        "You are Pippa, who sails with Matey.\n\n"
        "Short. No {{unknown}}.\n\n"
        "- Pippa has a parrot.\n- Born at sea.\n\n"
        "존댓말"
    )
    assert Persona("Pippa", "", style="Short.").system_message == "You are Pippa.\n\nShort."


@pytest.mark.parametrize(
    ("user", "rule"), [(ChatUser("dad", "Tom"), "반말 with Tom"), (ChatUser("aunt"), "존댓말")]
)
def test_the_user_decides_the_speech_rule(user: ChatUser, rule: str) -> None:
    assert WHOLE.met_by(user).system_message.endswith(f"\n\n{rule}")


def test_a_user_without_a_rule_where_there_is_no_default_gets_none() -> None:
    persona = Persona("Pippa", "Sings.", speech_rules=(SpeechRule("dad", "반말"),))
    assert persona.met_by(ChatUser("aunt")).system_message == "Sings."
    assert persona.met_by(ChatUser()).system_message == "Sings."


def test_names_are_put_in_wherever_they_may_be_written() -> None:
    met = WHOLE.met_by(ChatUser(name="Tom"))
    assert met.examples == (ExampleExchange("I am Tom.", "And I Pippa!"),)
    assert met.greeting == "Ahoy, Tom!"
    assert met.forbidden_phrases == ("Tom:",)
    assert Persona("Pippa", "", greeting="Hi {{user}}").met_by(ChatUser()).greeting == "Hi User"


def test_a_name_that_looks_like_a_template_stays_what_it_is() -> None:
    met = Persona("{{user}}", "{{char}} and {{user}}", user_name="{{char}}").met_by(ChatUser())
    assert met.instructions == "{{user}} and {{char}}"


@given(text=texts, values=st.dictionaries(st.sampled_from(["user", "char"]), texts))
def test_a_text_without_templates_stays_as_it_is(text: str, values: dict[str, str]) -> None:
    assert fill(text, values) == text


def test_the_clock_is_found_and_put_in() -> None:
    assert clock_template("at {{char}} {{Time}}") == "{{Time}}"
    assert clock_template("{{user}} {date} {{ date }}") is None
    now = datetime(2026, 3, 4, 5, 6)
    assert fill("{{DATE}} {{time}}", clock_values(now)) == "2026-03-04 05:06"


@given(
    parts=st.lists(st.sampled_from(["{{user}}", "{{char}}", "sings", " "]) | texts, max_size=4),
    rules=st.sampled_from([(), WHOLE.speech_rules]),
    user=st.builds(ChatUser, st.sampled_from([None, "dad"]), st.none() | texts),
)
def test_tokens_that_say_nothing_of_the_user_are_the_same_for_all_users_and_end_where_one_does(
    chat_tokenizer: ChatTokenizer, parts: list[str], rules: tuple[SpeechRule, ...], user: ChatUser
) -> None:
    persona = Persona("Pippa", "".join(parts), WHOLE.examples, speech_rules=rules)

    def ids(met_by: ChatUser) -> list[int]:
        segments = persona_segments(persona.met_by(met_by), chat_tokenizer)
        return [token_id for segment in segments for token_id in segment.token_ids]

    segments = persona_segments(persona.met_by(user), chat_tokenizer)
    count = unaddressed_tokens(persona, user, chat_tokenizer, segments)
    met, nobodys = ids(user), ids(ChatUser())
    assert met[:count] == nobodys[:count]
    assert met[count : count + 1] != nobodys[count : count + 1] or met[count:] == []
