"""How near in sense the words of passages are to a question's, word by word.

The vector of a whole passage blurs what one word of it says; this compares the words themselves, by vectors
that they have out of context. So "pets" is near "my beagle" in a message that is mostly about the weather.
"""

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from memory.recall.parts import Parts, greatest_of_runs, rarity
from memory.recall.words import GRAMMAR, terms, words

WordVectors = Callable[[Sequence[str]], NDArray[np.float32]]
"""Vectors of unit length [words, width] of single words; zeros for a word that has none."""

COMPARED = 64
"""Words of a question; of a longer one the last, since what is asked mostly stands at the end."""
SAME = 0.9
"""A word so near is the question's own, in whatever form."""


def alike(question: str, names: Collection[str], texts: Parts, vectors: WordVectors) -> NDArray[np.float64]:
    """How near each text comes to the question's words; 1: it has all.

    The mean over the question's words of the cosine of the nearest word, at least 0. Those that few of the
    texts have count more; words of grammar and `names` do not count.
    """
    passed_over = {word for name in names for word in words(name)}
    asked = [word for word in dict.fromkeys(words(question)) if _counts(word) and word not in passed_over]
    asked = asked[-COMPARED:]
    if not asked:
        return np.zeros(len(texts.lengths))
    told = [_spoken(part) for part in texts.each]
    near = vectors(asked) @ vectors(list(chain.from_iterable(told))).T
    of_parts = greatest_of_runs(near, np.array([len(each) for each in told], dtype=np.intp)).clip(min=0)
    nearest = texts.greatest(of_parts)
    weights = rarity((nearest > SAME).sum(1), len(texts.lengths))
    share: NDArray[np.float64] = weights @ nearest / weights.sum()
    return share


@lru_cache(maxsize=50_000)
def _spoken(part: str) -> tuple[str, ...]:
    """The words of a part of a text that count."""
    return tuple(filter(_counts, words(part)))


def _counts(word: str) -> bool:
    return not GRAMMAR.issuperset(terms(word))
