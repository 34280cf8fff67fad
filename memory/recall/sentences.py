"""The sentences of texts: which of them ask, and how much the others tell."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from memory.recall.parts import Parts, rarity
from memory.recall.text_terms import TextTerms

GOES_ON, STATES, ASKS = range(3)
CLOSING = "\"'”’)]*_"
"""What may stand behind the mark that ends a sentence."""


class Sentences:
    """The sentences of some texts, each ended by a part, or by the end of its text."""

    def __init__(self, texts: Parts) -> None:
        self._texts = texts
        ends = np.array([_end(part) for part in texts.each], dtype=np.intp)[texts.columns]
        lasts = texts.lengths.cumsum()[texts.lengths > 0] - 1
        ends[lasts] = np.maximum(ends[lasts], STATES)
        self._ended_at = np.flatnonzero(ends)
        self._is_asked = ends[self._ended_at] == ASKS

    @property
    def asking(self) -> NDArray[np.float64]:
        """The share of each text's sentences that ask; 0 of a text without any."""
        text_of, count = self._texts.text_of[self._ended_at], len(self._texts.lengths)
        sentences = np.bincount(text_of, minlength=count)
        return np.bincount(text_of, self._is_asked, minlength=count) / np.maximum(1, sentences)

    def telling(self, terms: TextTerms) -> NDArray[np.float64]:
        """How rare the words are, on average, that each text does not ask with. `terms`: of the same texts.

        1: no other of the texts has them; 0: it has none. A word counts once; words of grammar do not.
        """
        sentence_of = np.searchsorted(self._ended_at, np.arange(len(self._texts.text_of)))
        states = terms.within(~self._is_asked[sentence_of])
        count = len(states)
        rare = rarity(terms.has.sum(0), count) / rarity(np.array(1), count)
        means: NDArray[np.float64] = (states @ rare) / np.maximum(1, states.sum(1))
        return means


@lru_cache(maxsize=50_000)
def _end(part: str) -> int:
    """Whether a sentence goes on behind a part, or states or asks something."""
    last = part.rstrip(CLOSING)[-1:]
    if last and last in "?？":
        return ASKS
    return STATES if last and last in ".!…。！" else GOES_ON
