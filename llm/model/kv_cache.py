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

    def __init__(self, k: Tensor, v: Tensor, *, length: int, max_length: int) -> None:
        self._k = k
        self._v = v
        self._max_length = max_length
        self.length = length

    @classmethod
    def empty(cls, config: ModelConfig, dtype: torch.dtype, device: torch.device | None = None) -> "KVCache":
        capacity = min(FIRST_CAPACITY, config.context_window)
        shape = (config.layers, config.kv_heads, capacity, config.head_dim)
        k, v = (torch.empty(shape, dtype=dtype, device=device) for _ in range(2))
        return cls(k, v, length=0, max_length=config.context_window)

    @property
    def nbytes(self) -> int:
        """Bytes that the cache holds, filled or not."""
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
            capacity = min(self._max_length, max(needed, 2 * self.capacity))
            self._k = _resized(self._k, self.length, capacity)
            self._v = _resized(self._v, self.length, capacity)

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write one layer's new `k, v [kv_heads, tokens, head_dim]`; room must have been reserved.

        Gives views of all its keys and values, the new ones included.
        """
        tokens = k.shape[1]
        keys, values = self._k[layer], self._v[layer]
        keys.narrow(1, self.length, tokens).copy_(k)
        values.narrow(1, self.length, tokens).copy_(v)
        end = self.length + tokens
        return keys.narrow(1, 0, end), values.narrow(1, 0, end)

    def advance(self, tokens: int) -> None:
        self.length += tokens

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        self.length = min(self.length, length)

    def copy(self, length: int) -> "KVCache":
        """A cache of its own with the first `length` tokens of this one."""
        length = min(length, self.length)
        capacity = min(self._max_length, max(FIRST_CAPACITY, length))
        return KVCache(
            _resized(self._k, length, capacity),
            _resized(self._v, length, capacity),
            length=length,
            max_length=self._max_length,
        )


def _resized(old: Tensor, length: int, capacity: int) -> Tensor:
    layers, kv_heads, _, head_dim = old.shape
    new = old.new_empty((layers, kv_heads, capacity, head_dim))
    new[:, :, :length] = old[:, :, :length]
    return new
