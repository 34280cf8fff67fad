"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864).

In the half-split form that Hugging Face weights are in, not the interleaved one of the paper.
"""

import torch
from torch import Tensor


def rope_table(head_dim: int, positions: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position: two tensors `[positions, head_dim]`, float32."""
    frequencies = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn `x [heads, tokens, head_dim]` by the angles of its positions, `cos, sin [tokens, head_dim]`."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
