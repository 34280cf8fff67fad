"""The KV cache holds what was appended, whatever is cut, copied or grown in between."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from llm.model.kv_cache import FIRST_CAPACITY, KVCache
from tests.llm.tiny import tiny_config

CONFIG = tiny_config(heads=4, kv_heads=2, head_dim=4, context_window=3 * FIRST_CAPACITY + 5)


def tokens_of(count: int, value: float) -> torch.Tensor:
    """Keys of `count` tokens, each head and token with another number."""
    shape = (CONFIG.kv_heads, count, CONFIG.head_dim)
    return torch.arange(CONFIG.kv_heads * count * CONFIG.head_dim).view(shape) + value


def append(cache: KVCache, count: int, value: float) -> None:
    cache.reserve(count)
    for layer in range(CONFIG.layers):
        cache.append(layer, tokens_of(count, value + layer), -tokens_of(count, value + layer))
    cache.advance(count)


def append_or_overwrite(cache: KVCache) -> None:
    """Change what the cache holds: copies of it must not change with it."""
    cache.truncate(cache.length // 2)
    append(cache, 1, 1e6)


def contents(cache: KVCache, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    nothing = torch.empty(CONFIG.kv_heads, 0, CONFIG.head_dim)
    return cache.append(layer, nothing, nothing)


class AgainstPlainTensors(RuleBasedStateMachine):
    """A cache beside one joined tensor a layer, on which nothing can go wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = KVCache(CONFIG, torch.float32)
        nothing = torch.empty(CONFIG.kv_heads, 0, CONFIG.head_dim)
        self.expected = [nothing] * CONFIG.layers
        self.value = 0.0

    @rule(count=st.integers(1, 400))
    def append_or_refuse(self, count: int) -> None:
        self.value += 0.5
        before = self.cache.capacity
        if self.cache.length + count > CONFIG.context_window:
            with pytest.raises(ValueError, match="pass the context window"):
                append(self.cache, count, self.value)
            assert self.cache.capacity == before
            return
        append(self.cache, count, self.value)
        for layer, old in enumerate(self.expected):
            self.expected[layer] = torch.cat((old, tokens_of(count, self.value + layer)), dim=1)

    @rule(length=st.integers(0, CONFIG.context_window))
    def truncate(self, length: int) -> None:
        self.cache.truncate(length)
        self.expected = [old[:, :length] for old in self.expected]

    @rule(length=st.integers(0, CONFIG.context_window), cut=st.integers(0, CONFIG.context_window))
    def go_on_in_another_cache(self, length: int, cut: int) -> None:
        """What is read, in two parts, and written to another cache is the same there."""
        length = min(length, self.cache.length)
        parts = (self.cache.read(0, min(cut, length)), self.cache.read(min(cut, length), length))
        append_or_overwrite(self.cache)
        self.cache = KVCache(CONFIG, torch.float32)
        for part in parts:
            self.cache.write(part)
        self.expected = [old[:, :length] for old in self.expected]

    @rule(count=st.integers(1, 50))
    def write_without_advancing(self, count: int) -> None:
        """A forward pass that failed half-way."""
        if self.cache.length + count <= CONFIG.context_window:
            self.cache.reserve(count)
            self.cache.append(0, tokens_of(count, 1e6), tokens_of(count, 1e6))

    @invariant()
    def holds_what_was_appended(self) -> None:
        assert self.cache.length == self.expected[0].shape[1]
        for layer, expected in enumerate(self.expected):
            k, v = contents(self.cache, layer)
            assert torch.equal(k, expected)
            assert torch.equal(v, -expected)

    @invariant()
    def is_bounded(self) -> None:
        assert self.cache.length <= self.cache.capacity <= CONFIG.context_window
        held = 2 * CONFIG.layers * CONFIG.kv_heads * CONFIG.head_dim * self.cache.length * 4
        assert self.cache.nbytes >= held


TestAgainstPlainTensors: Any = AgainstPlainTensors.TestCase
TestAgainstPlainTensors.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


def test_capacity_doubles_so_that_growing_copies_each_token_a_bounded_number_of_times() -> None:
    config = replace(CONFIG, context_window=100 * FIRST_CAPACITY)
    cache = KVCache(config, torch.float32)
    capacities = []
    for _ in range(40 * FIRST_CAPACITY // 64):
        cache.reserve(64)
        cache.advance(64)
        capacities.append(cache.capacity)
    assert sorted(set(capacities)) == [FIRST_CAPACITY * 2**n for n in range(7)]


def test_attention_reads_views_not_copies() -> None:
    cache = KVCache(CONFIG, torch.float32)
    append(cache, 10, 0.0)
    first, again = contents(cache, 0), contents(cache, 0)
    assert first[0].data_ptr() == again[0].data_ptr()
    assert first[1].data_ptr() == again[1].data_ptr()


def test_a_cache_has_the_number_format_and_device_it_was_asked_for() -> None:
    cache = KVCache(CONFIG, torch.bfloat16, torch.device("meta"))
    cache.reserve(2 * FIRST_CAPACITY)
    k, _ = contents(cache, 0)
    assert (k.dtype, k.device.type) == (torch.bfloat16, "meta")
