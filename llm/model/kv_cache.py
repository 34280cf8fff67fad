"""The KV cache of one running sequence: its keys and values, contiguous, growing with it."""

import torch
from torch import Tensor

from llm.model.config import ModelConfig
from llm.model.hold import Hold

FIRST_CAPACITY = 256


class KVCache:
    """Keys and values `[2, layers, kv_heads, capacity, head_dim]`, of which `length` tokens are filled.

    A layer writes the new tokens with `append`; when all have, `advance` makes them count. So a
    forward pass that fails half-way leaves the cache as it was.
    """

    def __init__(
        self, config: ModelConfig, dtype: torch.dtype, device: torch.device | None = None, room: int = 0
    ) -> None:
        """`room`: for how many tokens the cache shall have capacity from the start."""
        self._max_length = config.context_window
        capacity = min(self._max_length, max(FIRST_CAPACITY, room))
        shape = (2, config.layers, config.kv_heads, capacity, config.head_dim)
        self._kv = torch.empty(shape, dtype=dtype, device=device)
        self._longest = 0
        self.length = 0
        self.hold: Hold | None = None
        """What of the sequence keeps its share of attention; set before its tokens are computed."""

    @property
    def nbytes(self) -> int:
        """Bytes that have ever been written. The rest of the capacity is not taken from the machine yet."""
        return self._longest * self._kv[:, :, :, :1].nbytes

    @property
    def capacity(self) -> int:
        return self._kv.shape[3]

    @property
    def storage(self) -> Tensor:
        """The keys and values, `[2, layers, kv_heads, capacity, head_dim]`; `reserve` may move them."""
        return self._kv

    def reserve(self, tokens: int) -> None:
        """Make room for `tokens` more. Raises ValueError if they pass the model's context window."""
        needed = self.length + tokens
        if needed > self._max_length:
            raise ValueError(f"{needed} tokens pass the context window of {self._max_length}")
        if needed > self.capacity:
            kinds, layers, kv_heads, capacity, head_dim = self._kv.shape
            capacity = min(self._max_length, max(needed, 2 * capacity))
            grown = self._kv.new_empty((kinds, layers, kv_heads, capacity, head_dim))
            grown[:, :, :, : self.length] = self._kv[:, :, :, : self.length]
            self._kv = grown
            self._longest = self.length

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write one layer's new `k, v [kv_heads, tokens, head_dim]`; room must have been reserved.

        Gives views of all its keys and values, the new ones included.
        """
        tokens = k.shape[1]
        keys, values = self._kv[0, layer], self._kv[1, layer]
        keys.narrow(1, self.length, tokens).copy_(k)
        values.narrow(1, self.length, tokens).copy_(v)
        end = self.length + tokens
        return keys.narrow(1, 0, end), values.narrow(1, 0, end)

    def blank(self, end: int) -> None:
        """Zero what was never written of the first `end` places, so that they may be read behind a mask.

        New memory may hold NaN, and no mask hides that: a weight of zero times NaN is NaN.
        """
        if end > self._longest:
            self._kv[:, :, :, self._longest : end].zero_()
            self._longest = end

    def advance(self, tokens: int) -> None:
        self.length += tokens
        self._longest = max(self._longest, self.length)

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        self.length = min(self.length, length)

    def read(self, start: int, end: int) -> Tensor:
        """A copy of the tokens from `start` to `end`: `[2, layers, kv_heads, end - start, head_dim]`."""
        return self._kv[:, :, :, start:end].clone()

    def write(self, kv: Tensor) -> None:
        """Continue by tokens as `read` gives them. Raises ValueError like `reserve`."""
        tokens = kv.shape[3]
        self.reserve(tokens)
        self._kv[:, :, :, self.length : self.length + tokens] = kv
        self.advance(tokens)
