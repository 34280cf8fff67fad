"""A step of fixed shapes gives the logits of an ordinary one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from llm.model.decoder import Decoder, Span
from llm.model.fixed_step import LEAST_PLACES, FixedStep, places_read
from llm.model.kv_cache import KVCache
from llm.weights.safetensors_folder import load_decoder
from tests.llm.test_families import VARIANTS
from tests.llm.tiny import save_tiny, save_tiny_llama

STARTS = [1, 0, 19, 37, 254]
"""Lengths before the first step: nothing, about a window, and where the places read become more."""


@pytest.mark.parametrize("attention", ["sdpa", "reference"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_its_logits_are_those_of_the_decoder_in_every_family(
    tmp_path: Path, variant: str, attention: Any
) -> None:
    family, changes = VARIANTS[variant]
    save_tiny(tmp_path, family, **changes)
    decoder = load_decoder(tmp_path, torch.float32, attention)
    ours, theirs = ([decoder.new_cache() for _ in STARTS] for _ in range(2))
    for start, *caches in zip(STARTS, ours, theirs, strict=True):
        for cache in caches:
            decoder.extend([n * 7 % 250 for n in range(start)] or [0], cache, "none")
            cache.truncate(start)
    step: FixedStep | None = None
    for number in range(4):
        spans = [Span([(9 * i + number) % 250], cache) for i, cache in enumerate(ours)]
        expected = decoder([Span(span.token_ids, cache) for span, cache in zip(spans, theirs, strict=True)])
        step = computed_anew(decoder, spans) if step is None or number == 2 else loaded(step, spans)
        with torch.inference_mode():
            torch.testing.assert_close(step(), torch.cat(expected), atol=1e-4, rtol=1e-4)
        for cache, twin in zip(ours, theirs, strict=True):
            cache.advance(1)
            torch.testing.assert_close(
                cache.read(0, cache.length), twin.read(0, twin.length), atol=1e-4, rtol=1e-4
            )


def computed_anew(decoder: Decoder, spans: list[Span]) -> FixedStep:
    for span in spans:
        span.cache.reserve(1)
    return FixedStep(decoder, spans)


def loaded(step: FixedStep, spans: list[Span]) -> FixedStep:
    step.load(spans)
    return step


ALL_PARTS = ["gemma3_text with linear scaling", "qwen2 with yarn", "llama with biases"]


@pytest.mark.parametrize("variant", ALL_PARTS)
def test_every_part_of_it_is_on_the_device(tmp_path: Path, variant: str) -> None:
    family, changes = VARIANTS[variant]
    save_tiny(tmp_path, family, **changes)
    decoder = load_decoder(tmp_path, torch.float32, "sdpa", torch.device("meta"))
    caches = [decoder.new_cache() for _ in range(2)]
    logits = computed_anew(decoder, [Span([1], cache) for cache in caches])()
    assert (logits.device.type, logits.shape) == ("meta", (2, 256))


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records what is computed: each operation with its numbers, and the shapes of its tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.done: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = tree_map_only(torch.Tensor, lambda tensor: tensor.shape, (args, kwargs))
        self.done.append(f"{func} {plain}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("variant", ALL_PARTS)
def test_it_does_the_same_whatever_the_lengths_and_never_looks_at_them(tmp_path: Path, variant: str) -> None:
    """So a graph that was captured of it is right for later steps."""
    family, changes = VARIANTS[variant]
    save_tiny(tmp_path, family, **changes)
    decoder = load_decoder(tmp_path, torch.float32, "sdpa")
    caches = [decoder.new_cache() for _ in range(2)]
    step = computed_anew(decoder, [Span([1], cache) for cache in caches])
    step()  # some tables are made once
    done = []
    for tokens in (0, 30, 9):
        for cache in caches:
            cache.advance(tokens)
        step.load([Span([tokens], cache) for cache in caches])
        with torch.inference_mode(), Operations() as operations:
            step()
        done.append(operations.done)
    assert done[0] == done[1] == done[2]
    assert not [name for name in done[0] if "_local_scalar_dense" in name or "nonzero" in name]


@given(length=st.integers(1, 100_000), spare=st.integers(0, 100_000))
def test_the_places_read_hold_the_sequence_and_little_more(length: int, spare: int) -> None:
    places = places_read(length, length + spare)
    assert length <= places <= min(length + spare, max(length * 5 / 4, length + LEAST_PLACES - 1))


def test_the_places_read_change_seldom() -> None:
    assert len({places_read(length, 100_000) for length in range(1, 16_385)}) == 8 + 3 * 4


@pytest.fixture
def decoder(tmp_path: Path) -> Decoder:
    save_tiny_llama(tmp_path)
    return load_decoder(tmp_path, torch.float32, "sdpa")


def test_it_reads_nothing_that_new_memory_may_hold(decoder: Decoder) -> None:
    cache = decoder.new_cache()
    cache.storage.fill_(float("nan"))
    decoder.extend(range(5), cache)
    with torch.inference_mode():
        assert computed_anew(decoder, [Span([1], cache)])().isfinite().all()
    assert cache.storage[:, :, :, LEAST_PLACES:].isnan().all()


def test_it_keeps_no_cache_alive_and_knows_when_one_moves(decoder: Decoder) -> None:
    caches = [decoder.new_cache() for _ in range(2)]
    step = computed_anew(decoder, [Span([1], cache) for cache in caches])
    assert step.is_alive
    caches[0].reserve(300)
    assert not step.is_alive
    step = computed_anew(decoder, [Span([1], cache) for cache in caches])
    del caches[1]
    assert not step.is_alive


def test_blanking_leaves_what_was_written(decoder: Decoder) -> None:
    cache: KVCache = decoder.new_cache()
    decoder.extend(range(40), cache)
    before = cache.read(0, 40)
    cache.truncate(30)
    for end in (20, 50, 35):
        cache.blank(end)
    cache.advance(10)
    assert torch.equal(cache.read(0, 40), before)
    assert cache.nbytes == 50 * decoder.kv_bytes_per_token
