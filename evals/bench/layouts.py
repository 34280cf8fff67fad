"""How fast a float32 matrix multiplies rows, by how it lies in memory: why ours lie in oneDNN's blocks.

    python -m evals.bench.layouts

Times the matrices of ten layers of the default model, more than caches hold, in each layout in turn, and
prints the medians. On a machine that does anything else they say little.
"""

import statistics
import time
from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

SHAPES = ((960, 576), (576, 576), (3072, 576), (576, 1536))
"""Outputs and inputs of the matrices of a layer of SmolLM2-135M: qkv, out, gate and up, down."""
LAYERS = 10
ROWS = (1, 2, 4, 8, 16, 32, 48, 64, 128, 256, 512)

Product = Callable[[Tensor, Tensor], Tensor]


def _in_blocks(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight)  # type: ignore[no-any-return]


def _by_blocks(x: Tensor, weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")  # type: ignore[no-any-return]


LAYOUTS: dict[str, tuple[Callable[[Tensor], Tensor], Product]] = {
    "rows": (lambda weight: weight, F.linear),
    "columns": (lambda weight: weight.t().contiguous().t(), F.linear),
    "transposed product": (lambda weight: weight, lambda x, weight: torch.mm(weight, x.t())),
    "oneDNN's blocks": (_in_blocks, _by_blocks),
}


@torch.inference_mode()
def main(
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is timed.")] = 7,
) -> None:
    """Print milliseconds for all matrices of ten layers, by rows and layout."""
    torch.set_num_threads(threads)
    weights = [torch.randn(*shape) for _ in range(LAYERS) for shape in SHAPES]
    laid_out = {name: [lay_out(weight) for weight in weights] for name, (lay_out, _) in LAYOUTS.items()}
    table = Table("rows", *LAYOUTS, title="milliseconds, ten layers")
    for rows in ROWS:
        inputs = [torch.randn(rows, inputs) for _ in range(LAYERS) for _, inputs in SHAPES]
        times: dict[str, list[float]] = {name: [] for name in LAYOUTS}
        for _ in range(rounds + 1):
            for name, (_, product) in LAYOUTS.items():
                began = time.perf_counter()
                for x, weight in zip(inputs, laid_out[name], strict=True):
                    product(x, weight)
                times[name].append(1000 * (time.perf_counter() - began))
        table.add_row(str(rows), *(f"{statistics.median(times[name][1:]):.1f}" for name in LAYOUTS))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
