"""Which of some texts have which terms, and how rare those are; words of grammar are left out."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from memory.recall.parts import Parts, rarity
from memory.recall.words import GRAMMAR, terms

LONGEST_PART = 24
"""Characters of a part of a text whose terms are remembered."""


class TextTerms:
    """The terms of some texts. A text has those of its parts."""

    def __init__(self, texts: Parts) -> None:
        of_parts = [_remembered(part) if len(part) <= LONGEST_PART else _telling(part) for part in texts.each]
        distinct = dict.fromkeys(chain.from_iterable(of_parts))
        self._texts = len(texts.lengths)
        self._numbers = {term: number for number, term in enumerate(distinct)}
        self._many = max(1, len(distinct))
        flat = np.array([self._numbers[term] for term in chain.from_iterable(of_parts)], dtype=np.intp)
        counts = np.array([len(found) for found in of_parts], dtype=np.intp)
        # Each term in each part of each text, as one number for the text and the term.
        self._lengths = counts[texts.columns]
        starts = (counts.cumsum() - counts)[texts.columns] - (self._lengths.cumsum() - self._lengths)
        found = flat[np.repeat(starts, self._lengths) + np.arange(self._lengths.sum())]
        self._said = np.repeat(texts.text_of, self._lengths) * self._many + found
        self._texts_of, self._terms_of = np.divmod(np.unique(self._said), self._many)

    def having(self, asked: Sequence[str]) -> NDArray[np.bool_]:
        """Which text has which of these terms [texts, terms]."""
        has = np.zeros((self._texts, len(asked)), dtype=np.bool_)
        for column, term in enumerate(asked):
            if (number := self._numbers.get(term)) is not None:
                has[self._texts_of[self._terms_of == number], column] = True
        return has

    def rareness(self, places: NDArray[np.bool_]) -> NDArray[np.float64]:
        """How rare the terms are, on average, that each text has at some `places` of all parts of all texts.

        1: no other text has them; 0: it has none there. A term counts once.
        """
        rare = rarity(np.bincount(self._terms_of), self._texts) / rarity(np.array(1), self._texts)
        text_of, term_of = np.divmod(np.unique(self._said[np.repeat(places, self._lengths)]), self._many)
        counts = np.bincount(text_of, minlength=self._texts)
        means: NDArray[np.float64] = np.bincount(text_of, rare[term_of], self._texts) / np.maximum(1, counts)
        return means


def _telling(part: str) -> tuple[str, ...]:
    """The terms of a part of a text that tell something."""
    return tuple(term for term in dict.fromkeys(terms(part)) if term not in GRAMMAR)


_remembered = lru_cache(maxsize=50_000)(_telling)
