"""Texts as their parts: what is asked of a part is asked once, in however many texts it is."""

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLOSING = "\"'”’)]*_」』»"
"""What may stand behind the mark that ends a sentence."""
_UNSPACED_END = re.compile(
    rf"(?<=[。！？])(?![。！？!?{re.escape(CLOSING)}]|$)|(?<=[。！？][」』])(?![。！？!?]|$)"
)
"""Where a sentence ends that no space follows."""


class Parts:
    """The parts of some texts, between their spaces and behind the sentences of scripts without.

    `each`: all of them, once; `lengths`: how many each text has. Of all parts of all texts, in order:
    `columns`, which of `each` it is, and `text_of`, which text's.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        split = [_spaced(text).split() for text in texts]
        places = {part: place for place, part in enumerate(dict.fromkeys(chain.from_iterable(split)))}
        self.each = tuple(places)
        self.lengths = np.array([len(parts) for parts in split], dtype=np.intp)
        self.columns = np.array([places[part] for part in chain.from_iterable(split)], dtype=np.intp)
        self.text_of = np.repeat(np.arange(len(texts)), self.lengths)

    def greatest(self, values: NDArray[Any]) -> NDArray[Any]:
        """Of each text the greatest value of its parts: [rows, parts] to [rows, texts]; 0 if it has none."""
        return greatest_of_runs(values[:, self.columns], self.lengths)


def _spaced(text: str) -> str:
    return text if text.isascii() else _UNSPACED_END.sub(" ", text)


def rarity(having: NDArray[Any], count: int) -> NDArray[np.float64]:
    """How much it says of a text to be among so many of `count` that have something: the fewer, the more."""
    weights: NDArray[np.float64] = np.log(1 + (count + 0.5) / (having + 0.5))
    return weights


def greatest_of_runs(values: NDArray[Any], lengths: NDArray[np.intp]) -> NDArray[Any]:
    """Of each row the greatest of each run of columns [rows, runs], 0 of an empty one. `lengths`: of the
    runs, which follow each other."""
    greatest = np.zeros((len(values), len(lengths)), dtype=values.dtype)
    is_any = lengths > 0
    if is_any.any():
        starts = (lengths.cumsum() - lengths)[is_any]
        greatest[:, is_any] = np.maximum.reduceat(values, starts, axis=1)
    return greatest
