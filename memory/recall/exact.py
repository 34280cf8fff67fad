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
        if not self.keys:
            return []
        scores, is_met = self.vectors @ vector, meets(where)
        return [
            Hit(key, float(score))
            for key, score, metadata in zip(self.keys, scores, self.metadata, strict=True)
            if is_met(metadata)
        ]


class SmallShelves:
    """Those that were searched last; and which collections were found to be larger. Thread-safe."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, int], SmallShelf] = OrderedDict()
        self._large: set[str] = set()
        self._lock = threading.Lock()

    def get(
        self, collection_id: str, watermark: int, read: Callable[[], SmallShelf | None]
    ) -> SmallShelf | None:
        """A collection as it is at that watermark, None if it is large; `read` where that is not known."""
        place = (collection_id, watermark)
        with self._lock:
            if collection_id in self._large:
                return None
            if place in self._held:
                self._held.move_to_end(place)
                return self._held[place]
        shelf = read()
        with self._lock:
            if shelf is None:
                self._large.add(collection_id)
                return None
            self._held[place] = shelf
            while len(self._held) > HELD:
                self._held.popitem(last=False)
        return shelf

    def grown(self, collection_id: str) -> None:
        """Forget what is held of a collection that something was added to: it stays large if it was."""
        with self._lock:
            self._drop(collection_id)

    def shrunk(self, collection_id: str) -> None:
        """The same of one that something was removed from."""
        with self._lock:
            self._large.discard(collection_id)
            self._drop(collection_id)

    def _drop(self, collection_id: str) -> None:
        for place in [place for place in self._held if place[0] == collection_id]:
            del self._held[place]
