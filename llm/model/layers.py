"""The layers of a block other than attention.

Their weights come from a file. So none is given a first value, which torch's own layers would do.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llm.model.config import Activation
from llm.model.packed import PackedWeight

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
}


class Linear(nn.Module):
    """x Wᵀ + b, where there is a bias. `[tokens, inputs] -> [tokens, outputs]`.

    Generated tokens are computed with `packed` weights, where there are any (see `llm.model.packed`).
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.packed: PackedWeight | None = None

    def forward(self, x: Tensor, generated: bool) -> Tensor:
        if not generated or self.packed is None:
            if self.weight.is_mkldnn:
                return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")  # type: ignore[no-any-return]
            return F.linear(x, self.weight, self.bias)
        product = self.packed.product(x)
        return product if self.bias is None else product + self.bias

    def reorder(self) -> None:
        """Lay the weight out in the blocks that oneDNN's kernels read, where they take its number format.

        A product of one to sixteen rows then takes about as long as of one; torch's own, of a matrix by rows
        or by columns, takes up to three times as long.
        """
        if _reorders(self.weight):
            blocks = torch.ops.mkldnn._reorder_linear_weight(self.weight)
            self.weight = nn.Parameter(blocks, requires_grad=False)


def _reorders(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if weight.dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype is torch.float32


class Embedding(nn.Module):
    """Row of a table by token id, times `scale`. `[...] -> [..., size]`."""

    def __init__(self, vocab_size: int, size: int, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, size))
        self.scale = scale

    def forward(self, token_ids: Tensor) -> Tensor:
        rows = F.embedding(token_ids, self.weight)
        if self.scale == 1.0:
            return rows
        # Models that scale were trained with the scale in the number format of their weights.
        return rows * torch.tensor(self.scale, dtype=rows.dtype)


class RMSNorm(nn.Module):
    """x / rms(x) * weight (Zhang and Sennrich 2019, arXiv:1910.07467). `[..., size] -> [..., size]`."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class GatedMLP(nn.Module):
    """down(activation(gate(x)) * up(x)) (Shazeer 2020, arXiv:2002.05202).

    `[tokens, hidden] -> [tokens, hidden]`. Gate and up are one matrix: one product reads x once.
    """

    def __init__(
        self, hidden_size: int, intermediate_size: int, activation: Activation, *, bias: bool
    ) -> None:
        super().__init__()
        self.gate_up = Linear(hidden_size, 2 * intermediate_size, bias=bias)
        self.down = Linear(intermediate_size, hidden_size, bias=bias)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor, generated: bool) -> Tensor:
        gate, up = self.gate_up(x, generated).chunk(2, dim=-1)
        return self.down(self.activation(gate) * up, generated)  # type: ignore[no-any-return]
