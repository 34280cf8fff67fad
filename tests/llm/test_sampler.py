"""Sampling: each setting does what it says, and a seed repeats."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.engine.interface import SamplingParameters
from llm.engine.sampler import Sampler, token_probabilities

PLAIN = SamplingParameters(max_tokens=1, temperature=1.0)
logit_lists = st.lists(st.integers(-160, 160).map(lambda n: n / 8), min_size=2, max_size=50, unique=True)


def probabilities(logits: list[float], **changes: Any) -> list[float]:
    kept: list[float] = token_probabilities(torch.tensor(logits), replace(PLAIN, **changes)).tolist()
    return kept


@given(logits=logit_lists, k=st.integers(1, 60))
def test_top_k_keeps_the_k_likeliest(logits: list[float], k: int) -> None:
    kept = probabilities(logits, top_k=k)
    expected = sorted(range(len(logits)), key=lambda i: -logits[i])[:k]
    assert {i for i, p in enumerate(kept) if p > 0} == set(expected)
    assert sum(kept) == pytest.approx(1, abs=1e-5)


@given(logits=logit_lists, top_p=st.floats(0.01, 0.99))
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits: list[float], top_p: float) -> None:
    whole, kept = probabilities(logits), probabilities(logits, top_p=top_p)
    survivors = sorted((whole[i] for i, p in enumerate(kept) if p > 0), reverse=True)
    assert sum(survivors) >= top_p - 1e-4
    assert sum(survivors[:-1]) < top_p + 1e-4
    assert survivors[0] == max(whole)


def test_top_p_is_right_where_very_many_tokens_are_needed() -> None:
    kept = token_probabilities(torch.zeros(5000), replace(PLAIN, top_p=0.5))
    assert (kept > 0).sum() == pytest.approx(2500, abs=2)


@given(logits=logit_lists, min_p=st.floats(0.01, 1))
def test_min_p_keeps_what_is_likely_beside_the_likeliest(logits: list[float], min_p: float) -> None:
    whole, kept = probabilities(logits), probabilities(logits, min_p=min_p)
    for before, after in zip(whole, kept, strict=True):
        if before < min_p * max(whole) * 0.999:
            assert after == 0
        elif before > min_p * max(whole) * 1.001:
            assert after > 0


@given(logits=logit_lists)
def test_temperature_zero_takes_the_likeliest(logits: list[float]) -> None:
    sampler = Sampler(replace(PLAIN, temperature=0), [], frozenset())
    assert sampler.next(torch.tensor(logits)) == max(
        range(len(logits)), key=lambda i: torch.tensor(logits)[i]
    )


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()
    sampler = Sampler(replace(PLAIN, seed=1), [], frozenset())
    counts = torch.bincount(torch.tensor([sampler.next(logits) for _ in range(8000)]), minlength=4)
    torch.testing.assert_close(counts / 8000, logits.exp(), atol=0.02, rtol=0)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**63 - 1))
def test_a_seed_repeats_and_a_drawn_seed_is_known(seed: int) -> None:
    logits = torch.zeros(1000)

    def draws(sampler: Sampler) -> list[int]:
        return [sampler.next(logits) for _ in range(10)]

    assert draws(Sampler(replace(PLAIN, seed=seed), [], frozenset())) == draws(
        Sampler(replace(PLAIN, seed=seed), [], frozenset())
    )
    unnamed = Sampler(PLAIN, [], frozenset())
    assert draws(unnamed) == draws(Sampler(replace(PLAIN, seed=unnamed.seed), [], frozenset()))


def test_a_repetition_penalty_counts_prompt_and_reply_but_no_special_tokens() -> None:
    greedy = replace(PLAIN, temperature=0, repetition_penalty=2.0)
    logits = torch.tensor([3.0, 2.9, 2.8, -1.0])
    sampler = Sampler(greedy, [0], frozenset())
    assert [sampler.next(logits) for _ in range(3)] == [1, 2, 0]
    special = Sampler(greedy, [0], frozenset({0}))
    assert [special.next(logits) for _ in range(2)] == [0, 0]
    negative = Sampler(greedy, [0, 1, 2], frozenset())
    assert negative.next(torch.tensor([-1.0, -1.1, -1.2, -1.9])) == 3


def test_presence_and_frequency_penalties_lower_what_the_reply_has_said() -> None:
    logits = torch.tensor([3.0, 2.5, 0.0])

    def chosen(count: int, prompt_ids: tuple[int, ...] = (), **penalties: Any) -> list[int]:
        sampler = Sampler(replace(PLAIN, temperature=0.0, **penalties), prompt_ids, frozenset())
        return [sampler.next(logits) for _ in range(count)]

    assert chosen(3) == [0, 0, 0]
    assert chosen(3, prompt_ids=(0, 0), presence_penalty=0.8) == [0, 1, 0]  # the prompt does not count
    assert chosen(5, frequency_penalty=0.4) == [0, 0, 1, 0, 1]
    assert chosen(3, presence_penalty=-1.0) == [0, 0, 0]
    special = Sampler(replace(PLAIN, temperature=0.0, presence_penalty=2.0), (), frozenset({0}))
    assert [special.next(logits) for _ in range(2)] == [0, 0]
