"""The characters of the evaluation of personas: made or real, their lines rest on what is true of them."""

from hypothesis import given
from hypothesis import strategies as st

from evals.dialogues import Dialogue
from evals.persona import korean
from evals.persona.characters import INSTRUCTIONS, paired
from evals.persona.made import LANGUAGES, VOICES, made_pair
from evals.persona.people import EXAMPLES, LINES, people
from evals.persona.speech import Speech, speech_of
from memory.persona import ChatUser

SAILOR = Dialogue(
    "I sail every day.\nI am from Lisbon.",
    (
        ("Hi!", "Hello!"),
        ("What do you do?", "I sail, mostly."),
        ("Where from?", "Lisbon, I was born there."),
        ("Good?", "Very good!"),
        ("Both?", "I sail to Lisbon every day."),
    ),
)
BAKER = Dialogue("I bake.", (("Hi!", "Hello, I am very good!"), ("And?", "I bake bread.")))
NOBODY = Dialogue("", (("Hi!", "Hello!"),))


@given(st.sampled_from(LANGUAGES), st.integers(0, 10_000))
def test_a_made_pair_shares_what_it_is_asked_and_nothing_that_is_true(language: str, seed: int) -> None:
    pair = made_pair(language, seed)
    one, other = pair.characters
    assert pair.language == language
    assert one.name != other.name
    assert not set(one.facts) & set(other.facts)
    assert {line.asked for line in one.lines} == {line.asked for line in other.lines}
    assert not {line.said for line in one.lines} & {line.said for line in other.lines}
    assert sorted(len(lines) for lines in pair.questions().values()) == [2] * len(one.lines)
    for character in pair.characters:
        assert not set(character.lines) & set(character.examples)
        assert character.examples


@given(st.sampled_from(LANGUAGES), st.integers(0, 10_000))
def test_made_characters_keep_their_own_rule_of_speech(language: str, seed: int) -> None:
    for character in made_pair(language, seed).characters:
        assert character.rule is not None
        for line in (*character.lines, *character.examples):
            assert character.rule.kept(line.said), line.said


def test_every_rule_of_speech_is_broken_by_a_line_of_another() -> None:
    for voices in VOICES.values():
        for rule, _ in voices:
            others = [other.spoken(topics[0].traits[0].told) for other, topics in voices if other is not rule]
            assert any(rule.kept(line) is False for line in others), rule.text


def test_each_korean_line_is_written_in_its_own_level() -> None:
    for level, topics in korean.TOPICS.items():
        said = [text for topic in topics for trait in topic.traits for text in (trait.told, trait.follows)]
        assert {text: speech_of(text) for text in said} == dict.fromkeys(said, level)
        asked = [question for topic in topics for question in topic.questions]
        assert {speech_of(question) for question in asked} == {Speech.POLITE}


def test_the_same_seed_gives_the_same_pair_and_another_seed_another() -> None:
    for language in LANGUAGES:
        assert repr(made_pair(language, 1).questions()) == repr(made_pair(language, 1).questions())
        assert made_pair(language, 1).questions() != made_pair(language, 2).questions()


def test_a_persona_tells_all_that_is_true_and_examples_and_a_reminder_where_they_are_wanted() -> None:
    character = made_pair("Korean", 3).characters[0]
    assert character.rule is not None
    plain = character.persona(with_examples=False, reminder_depth=None)
    assert (plain.examples, plain.reminder) == ((), None)
    told = plain.met_by(ChatUser("eval-1")).system_message
    assert all(text in told for text in (character.name, character.rule.text, *character.facts))
    full = character.persona(with_examples=True, reminder_depth=4).met_by(ChatUser())
    assert full.reminder is not None
    assert full.reminder.depth == 4
    assert all(text in full.reminder.text for text in (character.name, character.rule.text, *character.facts))
    assert [example.assistant for example in full.examples] == [line.said for line in character.examples]
    assert "{{" not in told + full.reminder.text


def test_of_real_dialogues_the_lines_are_taken_that_share_rare_words_with_the_persona() -> None:
    found = people([SAILOR, NOBODY, BAKER], seed=1)
    assert {character.facts: [line.said for line in character.lines] for character in found} == {
        ("I sail every day.", "I am from Lisbon."): [
            "I sail, mostly.",
            "Lisbon, I was born there.",
            "I sail to Lisbon every day.",
        ],
        ("I bake.",): ["I bake bread."],
    }
    sailor = next(character for character in found if len(character.facts) > 1)
    assert [line.said for line in sailor.examples] == ["Hello!", "Very good!"]
    assert len(sailor.examples) <= EXAMPLES
    assert set(INSTRUCTIONS) >= {character.language for character in found}


def test_of_many_lines_those_that_say_most_of_the_persona_are_taken_once_and_in_their_order() -> None:
    said = [f"Sail {n}." if n < 6 else f"Boats sail {n}!" for n in range(9)]
    exchanges = [(f"{n}?", reply) for n, reply in enumerate((*said, said[8]))]
    long = Dialogue("I sail. Boats creak.", tuple(exchanges))
    [sailor] = people([long], seed=0)
    assert [line.asked for line in sailor.lines] == ["0?", "6?", "7?", "8?"]
    assert len(sailor.lines) == LINES


def test_pairs_are_the_same_for_a_seed_and_nobody_is_in_two() -> None:
    dialogues = [Dialogue(f"I am number{n}.", (("Who?", f"I am number{n}."),)) for n in range(9)]
    pairs = paired(people(dialogues, seed=4), "people")
    everybody = [character.facts for pair in pairs for character in pair.characters]
    assert len(pairs) == 4
    assert len(set(everybody)) == 8
    assert len({pair.name for pair in pairs}) == 4
    again = paired(people(dialogues, seed=4), "people")
    assert [character.facts for pair in again for character in pair.characters] == everybody
    assert people(dialogues, seed=5) != people(dialogues, seed=4)


def test_nobody_is_compared_with_somebody_of_the_same_persona() -> None:
    again = Dialogue("I am from Lisbon.\nI sail every day.", (("What?", "I sail."),))
    found = people([SAILOR, BAKER, again], seed=1)
    assert sorted(len(character.facts) for character in found) == [1, 2]
