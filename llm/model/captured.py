"""Decode steps on CUDA as captured graphs: one launch instead of one for each of hundreds of small kernels.

A graph is for certain caches where they are, in their order (see `llm.model.fixed_step`). Which sequences
decode together changes seldom while they do, so a graph serves many steps.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from llm.model.decoder import Decoder, Span
from llm.model.fixed_step import FixedStep, places_read
from llm.model.kv_cache import KVCache

MAX_GRAPHS = 16
PATIENCE = 4
"""Steps in a row that some caches take without a graph before one is captured for them. That takes the time
of a few steps, and is lost if the sequences soon change."""

Replay = Callable[[], Tensor]
Capture = Callable[[Callable[[], Tensor]], Replay]
"""Records what a function computes. What it gives does the same with what is then in the same tensors, and
gives the same tensor each time. It may run the function, any number of times, and need not keep it."""

_Key = tuple[tuple[int, int], ...]
"""Of each cache, which storage it has and how many places of it are read."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Captured:
    step: FixedStep
    replay: Replay


class CapturedDecode:
    """Computes steps of one generated token a sequence by graphs: a `DecodeStep` of the decoder.

    Keeps the graphs used last, and none for a cache that is gone or has moved. A capture that fails is the
    last: decoding then goes on without.
    """

    def __init__(self, decoder: Decoder, capture: Capture) -> None:
        self._decoder = decoder
        self._capture = capture
        self._graphs: OrderedDict[_Key, _Captured] = OrderedDict()
        self._last_key: _Key = ()
        self._in_a_row = 0
        self._works = True

    def __call__(self, spans: Sequence[Span]) -> list[Tensor] | None:
        if not self._works or not all(_is_decode_step(span) for span in spans):
            return None
        captured = self._captured(spans)
        if captured is None:
            return None
        captured.step.load(spans)
        logits = captured.replay().clone()  # the next replay of any graph may overwrite it
        return list(torch.split(logits, 1))

    def _captured(self, spans: Sequence[Span]) -> _Captured | None:
        """The graph of the spans' caches, captured now if it pays; None without."""
        self._drop_dead()  # before looking: another storage may have the id of one that is gone
        key = tuple(_place(span.cache) for span in spans)
        if key in self._graphs:
            self._graphs.move_to_end(key)
            return self._graphs[key]
        self._in_a_row = self._in_a_row + 1 if key == self._last_key else 1
        self._last_key = key
        if self._in_a_row <= PATIENCE:
            return None
        return self._capture_now(key, spans)

    def _capture_now(self, key: _Key, spans: Sequence[Span]) -> _Captured | None:
        step = FixedStep(self._decoder, spans)
        try:
            captured = _Captured(step, self._capture(step))
        except RuntimeError:
            log.exception("a decode step could not be captured; decoding goes on without graphs")
            self._works = False
            self._graphs.clear()
            return None
        self._graphs[key] = captured
        if len(self._graphs) > MAX_GRAPHS:
            self._graphs.popitem(last=False)
        return captured

    def _drop_dead(self) -> None:
        for key in [key for key, captured in self._graphs.items() if not captured.step.is_alive]:
            del self._graphs[key]


def _place(cache: KVCache) -> tuple[int, int]:
    return id(cache.storage), places_read(cache.length + 1, cache.capacity)


def _is_decode_step(span: Span) -> bool:
    return span.generated and len(span.token_ids) == 1 and span.logits != "none"


class CudaCapture:
    """Captures functions as CUDA graphs on one device. See torch's notes, "CUDA semantics", CUDA Graphs.

    All graphs share one pool of memory. So a result is to be copied before another of them is replayed.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(self, step: Callable[[], Tensor]) -> Replay:
        graph, result = self._record(step, self._anchor)

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    @cached_property
    def _anchor(self) -> torch.cuda.CUDAGraph:
        """A graph of next to nothing, which keeps the pool: it goes with the last of its graphs."""
        return self._record(lambda: torch.zeros(1, device=self._device), None)[0]

    def _record(
        self, step: Callable[[], Tensor], pool_of: torch.cuda.CUDAGraph | None
    ) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """Run the step once on the stream of captures, as they want it, and then capture it."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(self._stream):  # is left again also if the capture fails
            step()
            with torch.cuda.graph(
                graph,
                pool=None if pool_of is None else pool_of.pool(),
                stream=self._stream,
                capture_error_mode="thread_local",  # other threads may use the device meanwhile
            ):
                result = step()
        current.wait_stream(self._stream)
        return graph, result
