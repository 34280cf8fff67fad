"""Which sentences of texts ask, and how much the others tell."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory.recall.parts import Parts
from memory.recall.sentences import Sentences
from memory.recall.text_terms import TextTerms
from memory.recall.words import GRAMMAR, terms


def of(*texts: str) -> Sentences:
    return Sentences(Parts(texts))


def telling(*texts: str) -> list[float]:
    parts = Parts(texts)
    return list(Sentences(parts).telling(TextTerms(parts)))


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0),
        ("It rained", 0),
        ("Did it rain?", 1),
        ("did it rain? and then", 1 / 2),
        ("It rained. Did it? Well. Really?!", 1 / 2),
        ("Did it? 😀", 1),
        ("Did it rain ?", 1),
        ("😀 Did it rain ... really", 0),
        ("「雨ですか？」「はい。」", 1 / 2),
        ("雨ですか？！ はい", 1 / 2),
        ('She said "why?" and left.', 1 / 2),
        ("비가 왔나요? 네.", 1 / 2),
        ("雨ですか？はい。", 1 / 2),
    ],
)
def test_a_text_asks_as_far_as_its_sentences_do(text: str, share: float) -> None:
    assert list(of("Before?", text, "Behind?").asking) == [1, share, 1]


def test_whether_the_last_sentence_asks_is_told_by_itself() -> None:
    texts = of("Why? So.", 'So. "Why?"', "", "Why? 😀", "😀")
    assert list(texts.ends_asking) == [False, True, False, True, False]


def test_rare_words_tell_more_than_those_that_all_have_and_grammar_nothing() -> None:
    common, rare, both, grammar, none = telling("tea", "harp", "tea cello", "the of", "")
    assert 1 == rare > both > common > 0
    assert grammar == none == 0


def test_what_a_text_asks_with_does_not_tell() -> None:
    alone, with_question, question = telling("My harp.", "My harp. Is it freezing?", "Is it freezing?")
    assert with_question == alone > question == 0
    said, as_well = telling("My harp.", "My harp. Is that a harp?")
    assert said == as_well


def test_a_word_counts_once_in_a_text() -> None:
    once, over_and_over, _ = telling("harp tea", "harp harp harp tea", "tea")
    assert once == over_and_over


TEXTS = st.lists(st.text("ab 제가。?.\n", max_size=12), max_size=6)


@given(TEXTS)
def test_shares_are_between_0_and_1_whatever_the_texts(texts: list[str]) -> None:
    for values in (of(*texts).asking, telling(*texts)):
        assert len(values) == len(texts)
        assert all(0 <= value <= 1 for value in values)


@given(TEXTS, TEXTS)
def test_a_text_asks_as_much_whatever_stands_beside_it(texts: list[str], others: list[str]) -> None:
    beside = of(*others, *texts).asking[len(others) :]
    np.testing.assert_array_equal(of(*texts).asking, beside)


@settings(deadline=None)
@given(st.lists(st.text(alphabet="abS' ’.é어제日 -_\n1。", max_size=40), max_size=4))
def test_a_text_has_its_own_terms_but_those_of_grammar(texts: list[str]) -> None:
    asked = list(dict.fromkeys(["a", "nowhere", *(term for text in texts for term in terms(text))]))
    expected = [[term in set(terms(text)) - GRAMMAR for term in asked] for text in texts]
    has = TextTerms(Parts(texts)).having(asked)
    np.testing.assert_array_equal(has, np.array(expected, dtype=bool).reshape(len(texts), len(asked)))
