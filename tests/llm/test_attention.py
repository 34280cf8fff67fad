"""The two attention paths compute the same."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from llm.model.attention import causal_mask, reference_attention, sdpa_attention


@given(
    kv_heads=st.integers(1, 4),
    group=st.integers(1, 4),
    tokens=st.integers(1, 40),
    cached=st.integers(0, 40),
    head_dim=st.sampled_from([8, 16, 64]),
    seed=st.integers(0, 2**32),
)
def test_the_fast_path_equals_the_reference(
    kv_heads: int, group: int, tokens: int, cached: int, head_dim: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    length = cached + tokens
    q = torch.randn(kv_heads * group, tokens, head_dim, generator=generator)
    k = torch.randn(kv_heads, length, head_dim, generator=generator)
    v = torch.randn(kv_heads, length, head_dim, generator=generator)
    mask = causal_mask(tokens, length, q.dtype)
    torch.testing.assert_close(
        sdpa_attention(q, k, v, mask), reference_attention(q, k, v, mask), atol=1e-5, rtol=1e-5
    )


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


def test_bfloat16_follows_the_reference_within_its_precision() -> None:
    q, k, v = (torch.randn(n, 24, 64, dtype=torch.bfloat16) for n in (6, 2, 2))
    mask = causal_mask(24, 24, q.dtype)
    torch.testing.assert_close(
        sdpa_attention(q, k, v, mask), reference_attention(q, k, v, mask), atol=2e-2, rtol=2e-2
    )
