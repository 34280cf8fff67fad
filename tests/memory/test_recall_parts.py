"""What is asked of the parts of texts, and of episodes, is what asking one by one gives."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from memory.recall.episodes import standing
from memory.recall.parts import Parts


@given(st.lists(st.text("ab \n", max_size=12), max_size=6), st.booleans())
def test_a_text_has_the_greatest_value_of_its_parts(texts: list[str], is_yes_or_no: bool) -> None:
    parts = Parts(texts)
    assert set(parts.each) == {part for text in texts for part in text.split()}
    assert list(parts.lengths) == [len(text.split()) for text in texts]
    values = np.array([[len(part) for part in parts.each], [part.count("a") for part in parts.each]])
    values = values.astype(bool) if is_yes_or_no else values
    expected = [
        [max((values[row][parts.each.index(part)] for part in text.split()), default=0) for text in texts]
        for row in range(2)
    ]
    np.testing.assert_array_equal(parts.greatest(values), np.array(expected).reshape(2, len(texts)))


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 3)), max_size=20))
def test_those_before_a_passage_are_of_its_episode_and_better_or_earlier(
    given_passages: list[tuple[float, int]],
) -> None:
    before = [
        sum(
            episode == another and (-other, place) < (-score, at)
            for place, (other, another) in enumerate(given_passages)
        )
        for at, (score, episode) in enumerate(given_passages)
    ]
    scores = np.array([score for score, _ in given_passages])
    episodes = np.array([episode for _, episode in given_passages], dtype=np.intp)
    assert list(standing(scores, episodes)) == before
