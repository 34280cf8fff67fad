"""Exact search of small shelves: all of a shelf in memory, read once for each state that it was in."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memory.recall.filters import meets
from memory.recall.passage import PassageKey
from memory.recall.protocols import Filter, Hit

SMALL = 1000
"""Up to so many passages a shelf is searched exactly."""
HELD = 32
"""So many shelves are held: a passage of 384 numbers takes 1.5 KB."""


@dataclass(frozen=True, slots=True)
class SmallShelf:
    """All of a small collection: its keys, their vectors [passages, width], what is filtered by."""

    keys: list[PassageKey]
    vectors: NDArray[np.float32]
    metadata: list[Mapping[str, Any]]

    def nearest(self, vector: NDArray[np.float32], where: Filter) -> list[Hit]:
        """All that meet the filter, by cosine, in no order."""
        scores, is_met = self.vectors @ vector, meets(where)
        return [
            Hit(key, float(score))
            for key, score, metadata in zip(self.keys, scores, self.metadata, strict=True)
            if is_met(metadata)
        ]


class SmallShelves:
    """Those that were searched last. Thread-safe."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, int], SmallShelf] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, collection_id: str, watermark: int, read: Callable[[], SmallShelf]) -> SmallShelf:
        """A collection as it is at that watermark; `read` where it is not held."""
        place = (collection_id, watermark)
        with self._lock:
            if place in self._held:
                self._held.move_to_end(place)
                return self._held[place]
        shelf = read()
        with self._lock:
            self._held[place] = shelf
            while len(self._held) > HELD:
                self._held.popitem(last=False)
        return shelf

    def forget(self, collection_id: str) -> None:
        with self._lock:
            for place in [place for place in self._held if place[0] == collection_id]:
                del self._held[place]
