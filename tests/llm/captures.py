"""Captures for tests, with CUDA and without, and the steps that they are tried on."""

from collections.abc import Callable, Sequence
from weakref import WeakSet

import pytest
import torch
from torch import Tensor

from llm.model.captured import CudaCapture, Replay
from llm.model.decoder import Decoder, Span
from llm.model.kv_cache import KVCache

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
DEVICES = [torch.device("cpu"), pytest.param(torch.device("cuda"), marks=NEEDS_CUDA)]


class FakeCapture:
    """Captures as CUDA does, but for the graph: a replay runs the function again."""

    def __init__(self) -> None:
        self.captures = self.replays = 0
        self.held: WeakSet[Replay] = WeakSet()

    def __call__(self, step: Callable[[], Tensor]) -> Replay:
        self.captures += 1
        step()
        result = step()

        def replay() -> Tensor:
            self.replays += 1
            return result.copy_(step())

        self.held.add(replay)
        return replay


class CountedCapture(CudaCapture):
    """Counts what is captured and replayed."""

    captures = replays = 0

    def __call__(self, step: Callable[[], Tensor]) -> Replay:
        self.captures += 1
        replay = super().__call__(step)

        def counted() -> Tensor:
            self.replays += 1
            return replay()

        return counted


def capture_on(device: torch.device) -> FakeCapture | CountedCapture:
    return CountedCapture(device) if device.type == "cuda" else FakeCapture()


def filled(decoder: Decoder, *lengths: int) -> list[KVCache]:
    caches = [decoder.new_cache() for _ in lengths]
    for length, cache in zip(lengths, caches, strict=True):
        decoder.extend([n * 7 % 250 for n in range(length)], cache, "none")
    return caches


def decode(decoder: Decoder, caches: Sequence[KVCache], steps: int) -> list[Tensor]:
    """The logits of so many steps, of tokens that only their places determine."""
    return [
        torch.cat(
            decoder([Span([(cache.length + 3) % 250], cache, "all", generated=True) for cache in caches])
        )
        for _ in range(steps)
    ]
