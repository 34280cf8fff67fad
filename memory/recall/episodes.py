"""Episodes: the passages of a day of a chat, or of a document."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memory.recall.passage import Passage


def episodes_of(passages: Sequence[Passage]) -> NDArray[np.intp]:
    """A number for each passage: that of its episode."""
    names = [passage.episode for passage in passages]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.intp)


def standing(scores: NDArray[np.float64], episodes: NDArray[np.intp]) -> NDArray[np.intp]:
    """How many of its own episode have a higher score than each, or the same and an earlier place."""
    order = np.lexsort((-scores, episodes))
    is_first = np.diff(episodes[order], prepend=-1) != 0
    places = np.arange(len(scores))
    firsts = np.maximum.accumulate(np.where(is_first, places, 0))
    standing = np.empty(len(scores), dtype=np.intp)
    standing[order] = places - firsts
    return standing
