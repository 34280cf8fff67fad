"""What `alike` guarantees of texts whose words are near a question's."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from memory.recall.alike import COMPARED, SAME, alike
from memory.recall.parts import Parts
from memory.recall.words import GRAMMAR, terms, words

NEAR = {"pets": (1.0, 0.0), "beagle": (0.8, 0.6), "rain": (0.0, 1.0), "cold": (-0.6, 0.8)}
"""The cosine of pets and beagle is 0.8, of pets and rain 0, of pets and cold below 0."""
said = st.lists(st.sampled_from(["pets", "beagle", "rain", "cold", "the", "...", "Beagle's!", "unknown"]))


def vectors(asked: Sequence[str]) -> NDArray[np.float32]:
    return np.array([NEAR.get(word, (0.0, 0.0)) for word in asked], dtype=np.float32).reshape(-1, 2)


def near(question: str, *texts: str, names: Sequence[str] = ()) -> list[float]:
    return [round(float(each), 3) for each in alike(question, names, Parts(texts), vectors)]


def test_a_text_is_as_near_as_its_nearest_word_whatever_else_it_says() -> None:
    assert near("pets?", "My beagle!", "It was cold in the rain, my beagle said.", "Rain", "Cold", "") == [
        0.8,
        0.8,
        0,
        0,
        0,
    ]


def test_words_that_few_of_the_texts_have_count_more() -> None:
    only_rain, only_pets = near("rain pets", "rain", "pets", "rain now", "rain then")[:2]
    assert only_pets > only_rain > 0


@pytest.mark.parametrize("question", ["", "?!", "Where is it?", "What did Ann's do?"])
def test_words_of_grammar_and_names_ask_for_nothing(question: str) -> None:
    assert near(question, "It is where Ann is.", "pets", names=["Ann"]) == [0, 0]


@given(said, st.lists(said, max_size=5))
def test_it_is_the_weighted_mean_of_the_best_cosines(question: list[str], texts: list[list[str]]) -> None:
    asked = list(dict.fromkeys(counting(question)))
    best = np.array([[cosine(word, counting(text)) for text in texts] for word in asked])
    if asked and texts:
        weights = np.log(1 + (len(texts) + 0.5) / ((best > SAME).sum(1) + 0.5))
        expected = weights @ best / weights.sum()
    else:
        expected = np.zeros(len(texts))
    given_texts = Parts([" ".join(text) for text in texts])
    np.testing.assert_allclose(alike(" ".join(question), (), given_texts, vectors), expected, atol=1e-6)


def test_of_a_very_long_question_its_last_words_are_compared() -> None:
    compared = 0

    def counted(asked: Sequence[str]) -> NDArray[np.float32]:
        nonlocal compared
        compared = max(compared, len(asked))
        return vectors(asked)

    long = " ".join(f"w{number}" for number in range(20_000))
    [last, first] = (
        alike(question, (), Parts(["beagle"]), counted) for question in (f"{long} pets", f"pets {long}")
    )
    assert last > first == 0
    assert compared == COMPARED


def counting(parts: Sequence[str]) -> list[str]:
    return [word for part in parts for word in words(part) if not set(terms(word)) <= GRAMMAR]


def cosine(word: str, others: Sequence[str]) -> float:
    cosines = (float(np.dot(NEAR.get(word, (0, 0)), NEAR.get(other, (0, 0)))) for other in others)
    return max(0.0, *cosines, 0.0)
