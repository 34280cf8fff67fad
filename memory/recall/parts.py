"""Texts as the parts between their spaces: what is asked of a part is asked once, in however many it is."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Parts:
    """The parts of some texts. `each`: all of them, once; `lengths`: how many each text has."""

    def __init__(self, texts: Sequence[str]) -> None:
        split = [text.split() for text in texts]
        places = {part: place for place, part in enumerate(dict.fromkeys(chain.from_iterable(split)))}
        self.each = tuple(places)
        self.lengths = np.array([len(parts) for parts in split], dtype=np.intp)
        self._columns = np.array([places[part] for part in chain.from_iterable(split)], dtype=np.intp)

    def greatest(self, values: NDArray[Any]) -> NDArray[Any]:
        """Of each text the greatest value of its parts: [rows, parts] to [rows, texts]; 0 if it has none."""
        return greatest_of_runs(values[:, self._columns], self.lengths)


def greatest_of_runs(values: NDArray[Any], lengths: NDArray[np.intp]) -> NDArray[Any]:
    """Of each row the greatest of each run of columns [rows, runs], 0 of an empty one. `lengths`: of the
    runs, which follow each other."""
    greatest = np.zeros((len(values), len(lengths)), dtype=values.dtype)
    is_any = lengths > 0
    if is_any.any():
        starts = (lengths.cumsum() - lengths)[is_any]
        greatest[:, is_any] = np.maximum.reduceat(values, starts, axis=1)
    return greatest
