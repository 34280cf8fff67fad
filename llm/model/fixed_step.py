"""A decode step whose shapes and addresses stay the same from step to step, as a captured CUDA graph needs.

A step of ordinary spans looks at one key more each time. Here each sequence looks at a fixed number of
places of its cache, and a mask, computed from the lengths on the device, hides those that are not filled.
"""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from llm.model.block import SelfAttention, View
from llm.model.config import LayerKind
from llm.model.decoder import Decoder, Span
from llm.model.hold import held

LEAST_PLACES = 256


def places_read(length: int, capacity: int) -> int:
    """How many places of a cache a step reads that fills `length` of them.

    Rounded up by a quarter at most, or to the least number: so it stays the same for many steps.
    """
    power = 1 << (length.bit_length() - 1)
    step = max(LEAST_PLACES, power // 4)
    return min(capacity, -(-length // step) * step)


class FixedStep:
    """The step of `spans` of one token each, and later ones of the same caches, while they are where they are
    and none needs more places than now. Caches are held weakly.
    """

    def __init__(self, decoder: Decoder, spans: Sequence[Span]) -> None:
        self._decoder = decoder
        self._inputs = _inputs(spans).to(decoder.device)
        self._holds = _holds(spans).to(decoder.device)
        caches = [span.cache for span in spans]
        self._storages = [weakref.ref(cache.storage) for cache in caches]
        self._places = [places_read(cache.length + 1, cache.capacity) for cache in caches]
        for cache, places in zip(caches, self._places, strict=True):
            cache.blank(places)

    @property
    def is_alive(self) -> bool:
        """Whether all caches are where they were."""
        return all(storage() is not None for storage in self._storages)

    def load(self, spans: Sequence[Span]) -> None:
        """Make it the step of these spans, of the same caches."""
        self._inputs.copy_(_inputs(spans))
        self._holds.copy_(_holds(spans))

    def __call__(self) -> Tensor:
        """Write the tokens' keys and values to the caches. Gives the logits `[sequences, vocab]`, float32.

        Done twice, it does the same.
        """
        token_ids, lengths = self._inputs.unbind()
        views = {
            kind: View(self._decoder.rope(kind, lengths), self._masks(lengths, kind.window))
            for kind in set(self._decoder.config.layer_kinds)
        }
        batch = _FixedBatch(self._caches(), lengths, self._places, views)
        return self._decoder.logits(self._decoder.hidden(token_ids, batch), batch.generated)

    def _caches(self) -> list[Tensor]:
        storages = [storage() for storage in self._storages]
        alive = [storage for storage in storages if storage is not None]
        assert len(alive) == len(storages), "a cache is gone or has moved"
        return alive

    def _masks(self, lengths: Tensor, window: int | None) -> list[Tensor]:
        """For each sequence, what to add to the scores `[1, places]` of its token, which is at `length`."""
        positions = torch.arange(max(self._places), device=lengths.device)
        own = lengths.unsqueeze(1)
        hidden = positions > own
        if window is not None:
            hidden |= positions <= own - window
        mask = held(own, positions, *self._holds.unsqueeze(2)).to(self._decoder.dtype)
        mask.masked_fill_(hidden, float("-inf"))
        return [row[:, :places] for row, places in zip(torch.split(mask, 1), self._places, strict=True)]


def _inputs(spans: Sequence[Span]) -> Tensor:
    """The ids of the tokens, and how many tokens each cache holds before them: `[2, sequences]`, int64."""
    return torch.tensor([[span.token_ids[0] for span in spans], [span.cache.length for span in spans]])


def _holds(spans: Sequence[Span]) -> Tensor:
    """How many tokens each cache holds up, and how often they count for each before one: `[2, sequences]`."""
    holds = [span.cache.hold for span in spans]
    return torch.tensor(
        [
            [hold.tokens if hold else 0.0 for hold in holds],
            [hold.copies_per_token if hold else 0.0 for hold in holds],
        ]
    )


@dataclass(frozen=True, slots=True)
class _FixedBatch:
    """One token a sequence, written to its cache at `lengths`; it reads the first `places` of it."""

    caches: Sequence[Tensor]
    lengths: Tensor
    places: Sequence[int]
    views: Mapping[LayerKind, View]
    generated: ClassVar[bool] = True

    def attended(
        self, layer: SelfAttention, masks: Sequence[Tensor | None], qk: Tensor, values: Tensor
    ) -> Tensor:
        parts = []
        for i, (cache, mask) in enumerate(zip(self.caches, masks, strict=True)):
            keys, all_values = cache[0, layer.index], cache[1, layer.index]
            own, seen = slice(i, i + 1), slice(self.places[i])
            keys.index_copy_(1, self.lengths[own], qk[layer.heads :, own])
            all_values.index_copy_(1, self.lengths[own], values[:, own])
            q = qk[: layer.heads, own]
            parts.append(layer.attend(q, keys[:, seen], all_values[:, seen], mask, layer.scale))
        return torch.cat(parts, dim=1)
