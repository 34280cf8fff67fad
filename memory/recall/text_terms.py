"""Which of some texts have which terms; words of grammar are left out."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from memory.recall.parts import Parts
from memory.recall.words import GRAMMAR, terms_of_part


class TextTerms:
    """The terms of some texts. `has`: which text has which [texts, terms]."""

    def __init__(self, texts: Parts) -> None:
        of_parts = [_telling(part) for part in texts.each]
        distinct = dict.fromkeys(chain.from_iterable(of_parts))
        self._numbers = {term: number for number, term in enumerate(distinct)}
        counts = np.array([len(found) for found in of_parts], dtype=np.intp)
        flat = np.array([self._numbers[term] for term in chain.from_iterable(of_parts)], dtype=np.intp)
        # What stands at each place of the texts, text by text: terms, their texts, and the parts they are of.
        self._lengths = counts[texts.columns]
        starts = (counts.cumsum() - counts)[texts.columns] - (self._lengths.cumsum() - self._lengths)
        self._terms = flat[np.repeat(starts, self._lengths) + np.arange(self._lengths.sum())]
        self._texts = np.repeat(texts.text_of, self._lengths)
        self.has = np.zeros((len(texts.lengths), len(distinct)), dtype=np.bool_)
        self.has[self._texts, self._terms] = True

    def within(self, places: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which text has which term in a part at one of these places, of all parts of all texts."""
        is_within = np.repeat(places, self._lengths)
        has = np.zeros_like(self.has)
        has[self._texts[is_within], self._terms[is_within]] = True
        return has

    def having(self, terms: Sequence[str]) -> NDArray[np.bool_]:
        """Which text has which of these terms [texts, terms]."""
        has = np.zeros((len(self.has), len(terms)), dtype=np.bool_)
        for column, term in enumerate(terms):
            if (number := self._numbers.get(term)) is not None:
                has[:, column] = self.has[:, number]
        return has


@lru_cache(maxsize=50_000)
def _telling(part: str) -> tuple[str, ...]:
    """The terms of a part of a text that tell something."""
    return tuple(sorted(terms_of_part(part) - GRAMMAR))
