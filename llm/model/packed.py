"""Weights packed into small integers, for decoding: a step of a few rows is bound by reading the weights.

The products are torch's own CPU kernels; they take and give bfloat16.
"""

from typing import Literal, Protocol

import torch
from torch import Tensor

from llm.errors import UnsupportedModelError

DecodeForm = Literal["same", "int8", "int4"]
"""What decoding computes with: the weights of prefill, or packed ones beside them."""

GROUP = 32
"""Inputs that share a scale in int4; both kernels take multiples of it."""
OUTPUTS = 16
"""Both kernels take multiples of it."""


class PackedWeight(Protocol):
    """A matrix `[outputs, inputs]` in a form of its own."""

    def product(self, x: Tensor) -> Tensor:
        """x Wᵀ. `[rows, inputs] -> [rows, outputs]`, in the dtype of x."""


class Int8Weight:
    """Eight bits a weight, symmetric, with a scale for each output."""

    def __init__(self, weight: Tensor) -> None:
        weight = weight.float()
        scales = weight.abs().amax(dim=1).clamp(min=1e-12) / 127
        self._packed = (weight / scales[:, None]).round().to(torch.int8).contiguous()
        self._scales = scales.bfloat16()

    def product(self, x: Tensor) -> Tensor:
        return torch.ops.aten._weight_int8pack_mm(x.bfloat16(), self._packed, self._scales).to(x.dtype)  # type: ignore[no-any-return]


class Int4Weight:
    """Four bits a weight, with a scale and a least value for each group of 32 inputs.

    This is what GGUF's Q4_1 is: of a matrix that comes from one, every weight gets its own four bits back
    (the ends of a group's range are in the group), and only the scales are rounded, to bfloat16.
    """

    def __init__(self, weight: Tensor) -> None:
        outputs, inputs = weight.shape
        grouped = weight.float().reshape(outputs, inputs // GROUP, GROUP)
        least, most = grouped.amin(dim=2), grouped.amax(dim=2)
        scales = ((most - least) / 15).clamp(min=1e-12)
        quants = ((grouped - least[..., None]) / scales[..., None]).round().clamp(0, 15)
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(
            quants.to(torch.int32).reshape(outputs, inputs), 1
        )
        self._packed = packed
        # The kernel takes (q - 8) * scale + zero.
        pairs = torch.stack((scales, least + 8 * scales), dim=-1)
        self._scales_and_zeros = pairs.transpose(0, 1).contiguous().bfloat16()

    def product(self, x: Tensor) -> Tensor:
        return torch.ops.aten._weight_int4pack_mm_for_cpu(  # type: ignore[no-any-return]
            x.bfloat16(), self._packed, GROUP, self._scales_and_zeros
        ).to(x.dtype)


def pack(name: str, weight: Tensor, form: Literal["int8", "int4"]) -> PackedWeight:
    """Pack a matrix on the CPU. Raises UnsupportedModelError naming it if the kernels cannot take it."""
    if weight.device.type != "cpu":
        raise UnsupportedModelError(f"{form} weights are for the CPU, not for {weight.device.type}")
    outputs, inputs = weight.shape
    if inputs % GROUP or outputs % OUTPUTS:
        raise UnsupportedModelError(
            f"{name} of {outputs} x {inputs} cannot be packed into {form}: it takes multiples of "
            f"{OUTPUTS} x {GROUP}"
        )
    return Int8Weight(weight) if form == "int8" else Int4Weight(weight)
