"""The KV cache of one running sequence: its keys and values, contiguous, growing with it."""

import torch
from torch import Tensor

from llm.model.config import ModelConfig

FIRST_CAPACITY = 256


class KVCache:
    """Keys and values `[layers, kv_heads, capacity, head_dim]`, of which `length` tokens are filled.

    A layer writes the new tokens with `append`; when all have, `advance` makes them count. So a
    forward pass that fails half-way leaves the cache as it was.
    """

    def __init__(self, config: ModelConfig, dtype: torch.dtype, capacity: int = FIRST_CAPACITY) -> None:
        self.length = 0
        self._max_length = config.context_window
        shape = (config.layers, config.kv_heads, min(capacity, self._max_length), config.head_dim)
        self._k = torch.empty(shape, dtype=dtype)
        self._v = torch.empty(shape, dtype=dtype)

    @property
    def nbytes(self) -> int:
        return self._k.nbytes + self._v.nbytes

    @property
    def capacity(self) -> int:
        return self._k.shape[2]

    def reserve(self, tokens: int) -> None:
        """Make room for `tokens` more. Raises ValueError if they pass the model's context window."""
        needed = self.length + tokens
        if needed > self._max_length:
            raise ValueError(f"{needed} tokens pass the context window of {self._max_length}")
        if needed > self.capacity:
            self._grow(min(self._max_length, max(needed, 2 * self.capacity)))

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write one layer's new `k, v [kv_heads, tokens, head_dim]`; room must have been reserved.

        Gives views of all its keys and values, the new ones included.
        """
        end = self.length + k.shape[1]
        self._k[layer, :, self.length : end] = k
        self._v[layer, :, self.length : end] = v
        return self._k[layer, :, :end], self._v[layer, :, :end]

    def advance(self, tokens: int) -> None:
        self.length += tokens

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        self.length = min(self.length, length)

    def _grow(self, capacity: int) -> None:
        layers, kv_heads, _, head_dim = self._k.shape
        for name in ("_k", "_v"):
            old: Tensor = getattr(self, name)
            new = torch.empty((layers, kv_heads, capacity, head_dim), dtype=old.dtype)
            new[:, :, : self.length] = old[:, :, : self.length]
            setattr(self, name, new)
