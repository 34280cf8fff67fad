"""The two attention paths compute the same."""

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.masking_utils import causal_mask_function, sliding_window_causal_mask_function

from llm.model.attention import causal_mask, reference_attention, sdpa_attention, seen_tokens


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
    """On views as the decoder gives them: of the queries by head, and of a cache with room to spare."""
    generator = torch.Generator().manual_seed(seed)
    dtype, tolerance = precision
    length = cached + tokens
    q = torch.randn(tokens, kv_heads * group, head_dim, generator=generator).to(dtype).transpose(0, 1)
    shape = (2, kv_heads, length + spare, head_dim)
    first = length - seen_tokens(tokens, length, window)
    k, v = torch.randn(shape, generator=generator).to(dtype)[:, :, first:length]
    mask = causal_mask(tokens, length, dtype, window=window)
    fast, reference = (attend(q, k, v, mask, scale) for attend in (sdpa_attention, reference_attention))
    torch.testing.assert_close(fast, reference, atol=tolerance, rtol=tolerance)


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
