"""Packed weights: a matrix that came from four bits gets them back; others are as close as bits allow."""

import pytest
import torch

from llm.errors import UnsupportedModelError
from llm.model.packed import GROUP, OUTPUTS, pack

ROWS = (1, 2, 5, 8, 17, 64)


def from_q4_1(outputs: int, inputs: int) -> torch.Tensor:
    """A matrix of sixteen evenly spaced values in each group, both ends among them, as GGUF's Q4_1 gives."""
    quants = torch.randint(0, 16, (outputs, inputs // GROUP, GROUP))
    quants[..., 0], quants[..., 1] = 0, 15
    scales = (torch.rand(outputs, inputs // GROUP, 1) * 0.01 + 0.001).half().float()
    least = (torch.randn(outputs, inputs // GROUP, 1) * 0.05).half().float()
    return (quants * scales + least).reshape(outputs, inputs)


def relative_error(weight: torch.Tensor, form: str, rows: int) -> float:
    x = torch.randn(rows, weight.shape[1])
    exact = x @ weight.T
    packed = pack("w", weight, form).product(x)  # type: ignore[arg-type]
    assert packed.dtype == x.dtype
    return float((packed - exact).norm() / exact.norm())


@pytest.mark.parametrize("rows", ROWS)
def test_int4_loses_no_more_of_a_q4_1_matrix_than_bfloat16_does(rows: int) -> None:
    torch.manual_seed(0)
    weight = from_q4_1(96, 256)
    x = torch.randn(rows, 256)
    in_bfloat16 = (x.bfloat16() @ weight.bfloat16().T).float()
    lost = float((in_bfloat16 - x @ weight.T).norm() / (x @ weight.T).norm())
    assert relative_error(weight, "int4", rows) < 2 * lost


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("form", "most"), [("int8", 0.01), ("int4", 0.12)])
def test_any_matrix_is_close(form: str, most: float, rows: int) -> None:
    torch.manual_seed(0)
    assert relative_error(torch.randn(128, 192), form, rows) < most


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_a_matrix_of_zeros_and_one_of_equal_values_stay_what_they_are(form: str) -> None:
    x = torch.ones(2, GROUP)
    for value in (0.0, 0.5):
        weight = torch.full((OUTPUTS, GROUP), value)
        packed = pack("w", weight, form)  # type: ignore[arg-type]
        torch.testing.assert_close(packed.product(x), x @ weight.T, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("form", ["int8", "int4"])
@pytest.mark.parametrize("shape", [(OUTPUTS + 1, GROUP), (OUTPUTS, GROUP + 1), (50, 33)])
def test_a_shape_that_the_kernels_cannot_take_is_refused_by_name(form: str, shape: tuple[int, int]) -> None:
    with pytest.raises(UnsupportedModelError, match=f"blocks.3.mlp.down of {shape[0]} x {shape[1]}"):
        pack("blocks.3.mlp.down", torch.zeros(shape), form)  # type: ignore[arg-type]
