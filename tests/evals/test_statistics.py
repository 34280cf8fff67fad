"""Means and their intervals: chats are drawn whole, and nothing is claimed of too few."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.harness.statistics import estimate


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(0, 9)), min_size=1, max_size=40))
def test_the_interval_holds_values_that_the_chats_have_and_the_mean_is_that_of_all(
    rows: list[tuple[float, int]],
) -> None:
    values, chats = [value for value, _ in rows], [chat for _, chat in rows]
    found = estimate(values, chats)
    assert found.mean == pytest.approx(sum(values) / len(values), abs=1e-6)
    assert found.count == len(values)
    assert found.chats == len(set(chats))
    if found.chats < 3:
        assert found.low is found.high is None
        assert not found.is_not_zero
    else:
        assert found.low is not None
        assert found.high is not None
        assert min(values) - 1e-6 <= found.low <= found.high <= max(values) + 1e-6


def test_rows_of_one_chat_count_as_little_as_they_tell() -> None:
    chance = random.Random(1)
    chats = [number // 50 for number in range(500)]
    by_chat = [chance.gauss(0, 1) for _ in range(10)]
    alike = estimate([by_chat[chat] for chat in chats], chats)
    apart = estimate([chance.gauss(0, 1) for _ in chats], chats)
    assert alike.half_width is not None
    assert apart.half_width is not None
    assert alike.half_width > 3 * apart.half_width


def test_an_interval_misses_the_truth_about_as_often_as_it_says() -> None:
    chance = random.Random(2)
    missed = 0
    for _ in range(100):
        found = estimate([chance.gauss(5, 1) for _ in range(40)], list(range(40)))
        assert found.low is not None
        assert found.high is not None
        missed += not found.low <= 5 <= found.high
    assert 0 < missed <= 15


def test_there_is_no_mean_of_nothing() -> None:
    with pytest.raises(ValueError, match="no mean"):
        estimate([], [])
