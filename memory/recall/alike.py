"""How near in sense the words of passages are to a question's, word by word.

The vector of a whole passage blurs what one word of it says; this compares the words themselves, by vectors
that they have out of context. So "pets" is near "my beagle" in a message that is mostly about the weather.
"""

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from memory.recall.words import GRAMMAR, terms, words

WordVectors = Callable[[Sequence[str]], NDArray[np.float32]]
"""Vectors of unit length [words, width] of single words; zeros for a word that has none."""

COMPARED = 64
"""Words of a question; of a longer one the last, since what is asked mostly stands at the end."""
SAME = 0.9
"""A word so near is the question's own, in whatever form."""


def alike(
    question: str, names: Collection[str], texts: Sequence[Sequence[str]], vectors: WordVectors
) -> NDArray[np.float64]:
    """How near each text, given as its parts between spaces, comes to the question's words; 1: it has all.

    The mean over the question's words of the cosine of the nearest word. Those that few of the texts have
    count more; words of grammar and `names` do not count.
    """
    passed_over = {word for name in names for word in words(name)}
    asked = [word for word in dict.fromkeys(words(question)) if _counts(word) and word not in passed_over]
    asked = asked[-COMPARED:]
    if not asked:
        return np.zeros(len(texts))
    places = {part: place for place, part in enumerate(dict.fromkeys(chain.from_iterable(texts)))}
    told = [_spoken(part) for part in places]
    near = vectors(asked) @ vectors(list(chain.from_iterable(told))).T
    of_parts = _most(near, [len(each) for each in told])
    columns = [places[part] for part in chain.from_iterable(texts)]
    nearest = _most(of_parts[:, columns], [len(text) for text in texts])
    weights = np.log(1 + (len(texts) + 0.5) / ((nearest > SAME).sum(1) + 0.5))
    share: NDArray[np.float64] = weights @ nearest / weights.sum()
    return share


def _most(values: NDArray[np.float32], lengths: Sequence[int]) -> NDArray[np.float32]:
    """Of each row the greatest of each run of columns, at least 0 [rows, runs]. `lengths`: of the runs."""
    most = np.zeros((len(values), len(lengths)), dtype=np.float32)
    sizes = np.array(lengths)
    is_any = sizes > 0
    if is_any.any():
        starts = (sizes.cumsum() - sizes)[is_any]
        most[:, is_any] = np.maximum.reduceat(values, starts, axis=1).clip(min=0)
    return most


@lru_cache(maxsize=50_000)
def _spoken(part: str) -> tuple[str, ...]:
    """The words of a part of a text that count."""
    return tuple(filter(_counts, words(part)))


def _counts(word: str) -> bool:
    return not GRAMMAR.issuperset(terms(word))
