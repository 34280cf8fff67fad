"""The two attention paths compute the same."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import CausalBias
from transformers.masking_utils import causal_mask_function, sliding_window_causal_mask_function

from llm.model.attention import (
    causal_mask,
    flash_mask,
    mask_for,
    reference_attention,
    sdpa_attention,
    seen_tokens,
)
from tests.llm.captures import NEEDS_CUDA


@given(
    kv_heads=st.integers(1, 4),
    group=st.integers(1, 4),
    tokens=st.integers(1, 40),
    cached=st.integers(0, 40),
    spare=st.integers(0, 9),
    head_dim=st.sampled_from([8, 16, 64]),
    precision=st.sampled_from([(torch.float32, 1e-5), (torch.bfloat16, 3e-2)]),
    window=st.one_of(st.none(), st.integers(1, 50)),
    scale=st.one_of(st.none(), st.floats(0.05, 0.5)),
    seed=st.integers(0, 2**32),
)
def test_the_fast_path_equals_the_reference(
    kv_heads: int,
    group: int,
    tokens: int,
    cached: int,
    spare: int,
    head_dim: int,
    precision: tuple[torch.dtype, float],
    window: int | None,
    scale: float | None,
    seed: int,
) -> None:
    """On views as the decoder gives them: of the queries by head, and of a cache with room to spare.

    With the masks for CUDA too, which here run on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    dtype, tolerance = precision
    length = cached + tokens
    q = torch.randn(tokens, kv_heads * group, head_dim, generator=generator).to(dtype).transpose(0, 1)
    shape = (2, kv_heads, length + spare, head_dim)
    first = length - seen_tokens(tokens, length, window)
    k, v = torch.randn(shape, generator=generator).to(dtype)[:, :, first:length]
    reference = reference_attention(q, k, v, causal_mask(tokens, length, dtype, window=window), scale)
    for masks in (causal_mask, flash_mask):
        fast = sdpa_attention(q, k, v, masks(tokens, length, dtype, window=window), scale)
        torch.testing.assert_close(fast, reference, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    ("tokens", "length", "window", "flash"),
    [(5, 5, None, True), (5, 9, None, True), (5, 9, 9, True), (5, 9, 8, False), (1, 9, None, False)],
)
def test_masks_for_cuda_are_free_of_numbers_where_no_window_hides_anything(
    tokens: int, length: int, window: int | None, flash: bool
) -> None:
    """An additive mask keeps torch from its flash kernel."""
    mask = flash_mask(tokens, length, torch.float32, window=window)
    assert isinstance(mask, CausalBias) is flash


@NEEDS_CUDA
@pytest.mark.parametrize(("tokens", "length"), [(40, 40), (40, 90), (1, 90)])
def test_on_cuda_prompts_reach_the_flash_kernel(tokens: int, length: int) -> None:
    """Where no other kernel is allowed, anything it does not take is an error."""
    device, dtype = torch.device("cuda"), torch.bfloat16
    q = torch.randn(6, tokens, 64, device=device, dtype=dtype)
    k, v = torch.randn(2, 2, length, 64, device=device, dtype=dtype)
    expected = reference_attention(q, k, v, causal_mask(tokens, length, dtype, device))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        fast = sdpa_attention(q, k, v, flash_mask(tokens, length, dtype, device))
    torch.testing.assert_close(fast, expected, atol=3e-2, rtol=3e-2)


def test_masks_are_those_of_the_path_and_device() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda:1")
    assert mask_for("sdpa", cuda) is flash_mask
    assert {mask_for("sdpa", cpu), mask_for("reference", cuda)} == {causal_mask}


@given(tokens=st.integers(1, 20), cached=st.integers(0, 20))
def test_no_token_sees_what_comes_after_it(tokens: int, cached: int) -> None:
    """Changing the keys and values behind a token's position changes nothing for it."""
    length = cached + tokens
    q, k, v = torch.randn(4, tokens, 16), torch.randn(2, length, 16), torch.randn(2, length, 16)
    mask = causal_mask(tokens, length, q.dtype)
    before = reference_attention(q, k, v, mask)
    k[:, cached + 1 :] += 1.0
    v[:, cached + 1 :] -= 1.0
    after = reference_attention(q, k, v, mask)
    torch.testing.assert_close(after[:, 0], before[:, 0])
    assert tokens == 1 or not torch.allclose(after[:, -1], before[:, -1])


@given(tokens=st.integers(1, 20), cached=st.integers(0, 20), window=st.one_of(st.none(), st.integers(1, 30)))
def test_the_mask_hides_what_transformers_hides(tokens: int, cached: int, window: int | None) -> None:
    length = cached + tokens
    seen = seen_tokens(tokens, length, window)
    sees: Any = sliding_window_causal_mask_function(window) if window else causal_mask_function
    zero, positions = torch.tensor(0), torch.arange(length)
    expected = sees(zero, zero, positions[cached:, None], positions[None, :])
    assert not expected[:, : length - seen].any(), "no token sees what all are spared"
    mask = causal_mask(tokens, length, torch.float32, window=window)
    ours = torch.ones(1, seen, dtype=torch.bool) if mask is None else mask == 0
    assert torch.equal(ours, expected[:, length - seen :])
