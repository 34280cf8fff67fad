"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864), and the ways to stretch it.

In the half-split form that Hugging Face weights are in, not the interleaved one of the paper.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LinearScaling:
    """Position interpolation (Chen et al. 2023, arXiv:2306.15595): positions are divided by `factor`."""

    factor: float

    def scaled(self, frequencies: Tensor, _theta: float) -> Tensor:
        return frequencies / self.factor


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """That of Llama 3.1 (Llama team 2024, arXiv:2407.21783; `apply_scaling` in meta-llama/llama-models).

    Waves that repeat more than `high` times in the original window stay, those that repeat less than `low`
    times are stretched by `factor`, between them it fades from one to the other.
    """

    factor: float
    low: float
    high: float
    original_window: int

    def scaled(self, frequencies: Tensor, _theta: float) -> Tensor:
        turns = self.original_window * frequencies / (2 * math.pi)
        kept = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return frequencies * (kept + (1 - kept) / self.factor)


@dataclass(frozen=True, slots=True)
class YarnScaling:
    """YaRN (Peng et al. 2023, arXiv:2309.00071), section 3.2.

    As `Llama3Scaling`, but it fades by dimension, from that which turns `fast` times in the original window
    to that which turns `slow` times. Cosines and sines are multiplied by `magnitude` (section 3.4).
    `whole`: the two dimensions are rounded outwards.
    """

    factor: float
    original_window: int
    magnitude: float
    fast: float = 32.0
    slow: float = 1.0
    whole: bool = True

    def scaled(self, frequencies: Tensor, theta: float) -> Tensor:
        pairs = len(frequencies)
        first, last = (self._pair_that_turns(times, pairs, theta) for times in (self.fast, self.slow))
        if self.whole:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, 2 * pairs - 1)
        width = last - first or 0.001
        place = torch.arange(pairs, dtype=torch.float32, device=frequencies.device)
        stretched = ((place - first) / width).clamp(0, 1)
        return frequencies * (1 - stretched) + frequencies / self.factor * stretched

    def _pair_that_turns(self, times: float, pairs: int, theta: float) -> float:
        return pairs * math.log(self.original_window / (times * 2 * math.pi)) / math.log(theta)


@dataclass(frozen=True, slots=True)
class FrequencyDivisors:
    """What each frequency is divided by; GGUF files have Llama 3's scaling in this form."""

    divisors: tuple[float, ...]

    def scaled(self, frequencies: Tensor, _theta: float) -> Tensor:
        return frequencies / torch.tensor(self.divisors, device=frequencies.device)


RopeScaling = LinearScaling | Llama3Scaling | YarnScaling | FrequencyDivisors


@dataclass(frozen=True, slots=True)
class Rope:
    """Base and scaling of a rotary embedding."""

    theta: float
    scaling: RopeScaling | None = None

    @property
    def magnitude(self) -> float:
        """What cosines and sines are multiplied by."""
        return self.scaling.magnitude if isinstance(self.scaling, YarnScaling) else 1.0

    def frequencies(self, head_dim: int, device: torch.device | None = None) -> Tensor:
        """Radians per position of each pair of dimensions: `[head_dim / 2]`, float32."""
        exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
        frequencies = self.theta**-exponents
        return frequencies if self.scaling is None else self.scaling.scaled(frequencies, self.theta)


def angles(positions: Tensor, frequencies: Tensor) -> Tensor:
    """By how much `rotate` turns tokens at `positions [tokens]`: `[tokens, head_dim]`, float32."""
    half = positions.to(torch.float32).unsqueeze(-1) * frequencies
    return torch.cat((half, half), dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn `x [heads, tokens, head_dim]` by the angles of its positions, `cos, sin [tokens, head_dim]`."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
