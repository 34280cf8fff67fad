"""Causal grouped-query attention, twice: spelled out, and fast. Both have the same interface.

The new tokens of a sequence are its last ones: token i of `tokens` stands at position
`length - tokens + i`, and sees every position up to its own; in a sliding window of w, no more than the last
w of these (Beltagy et al. 2020, arXiv:2004.05150).
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

AttentionPath = Literal["sdpa", "reference"]
Attention = Callable[[Tensor, Tensor, Tensor, Tensor | None, float | None], Tensor]
"""q [heads, tokens, head_dim], k and v [kv_heads, seen, head_dim], mask, scale -> [heads, tokens, head_dim].

The scale is that of the scores; None stands for 1/√head_dim.
"""

MaskMaker = Callable[[int, int, torch.dtype, torch.device | None, int | None], Tensor | None]
"""As `causal_mask`."""


def seen_tokens(tokens: int, length: int, window: int | None) -> int:
    """How many of the last of `length` positions the `tokens` new ones see, all together."""
    return length if window is None else min(length, tokens + window - 1)


def causal_mask(
    tokens: int,
    length: int,
    dtype: torch.dtype,
    device: torch.device | None = None,
    window: int | None = None,
) -> Tensor | None:
    """What to add to the scores `[tokens, seen_tokens]`: 0 where a token may look, -inf where it may not.

    None where nothing is hidden: a single token sees all that it is given.
    """
    if tokens == 1:
        return None
    seen = seen_tokens(tokens, length, window)
    own = seen - tokens
    hidden = torch.ones(tokens, seen, dtype=torch.bool, device=device).triu(own + 1)
    if window is not None:
        hidden |= torch.ones_like(hidden).tril(own - window)
    return torch.zeros(tokens, seen, dtype=dtype, device=device).masked_fill_(hidden, float("-inf"))


def flash_mask(
    tokens: int,
    length: int,
    dtype: torch.dtype,
    device: torch.device | None = None,
    window: int | None = None,
) -> Tensor | None:
    """`causal_mask` as CUDA's flash kernel takes it, where no window hides more: by its shape alone.

    For `sdpa_attention` only: it holds no numbers.
    """
    if tokens == 1 or (window is not None and window < length):
        return causal_mask(tokens, length, dtype, device, window)
    # Imported here: it takes over a second, at every start, and only CUDA needs it.
    from torch.nn.attention.bias import causal_lower_right  # noqa: PLC0415

    return causal_lower_right(tokens, length)


def reference_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None = None
) -> Tensor:
    """softmax(scale · QKᵀ + mask)V (Vaswani et al. 2017, arXiv:1706.03762), each head written out.

    `heads / kv_heads` query heads share a key head (Ainslie et al. 2023, arXiv:2305.13245).
    """
    group = q.shape[0] // k.shape[0]
    k = k.repeat_interleave(group, dim=0)
    v = v.repeat_interleave(group, dim=0)
    scores = q.float() @ k.float().transpose(-1, -2) * (scale or q.shape[-1] ** -0.5)
    if mask is not None:
        scores = scores + mask.float()
    attended: Tensor = scores.softmax(dim=-1) @ v.float()
    return attended.to(q.dtype)


def sdpa_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None = None
) -> Tensor:
    """The same through torch's fused kernel, without copying the keys for each query head of a group."""
    heads, tokens, head_dim = q.shape
    kv_heads, length, _ = k.shape
    group = heads // kv_heads
    if tokens == 1:
        # One token: the heads of a group stand as so many queries, so that each key is read once.
        folded = q.view(1, kv_heads, group, head_dim)
        attended = F.scaled_dot_product_attention(
            folded, k.unsqueeze(0), v.unsqueeze(0), attn_mask=mask, scale=scale
        )
        return attended.view(heads, 1, head_dim)
    grouped = q.view(kv_heads, group, tokens, head_dim)
    shared = (kv_heads, group, length, head_dim)
    attended = F.scaled_dot_product_attention(
        grouped, k.unsqueeze(1).expand(shared), v.unsqueeze(1).expand(shared), attn_mask=mask, scale=scale
    )
    return attended.reshape(heads, tokens, head_dim)


ATTENTION_PATHS: dict[AttentionPath, Attention] = {
    "sdpa": sdpa_attention,
    "reference": reference_attention,
}


def mask_for(path: AttentionPath, device: torch.device) -> MaskMaker:
    """How masks are made for attention on a device."""
    return flash_mask if path == "sdpa" and device.type == "cuda" else causal_mask
