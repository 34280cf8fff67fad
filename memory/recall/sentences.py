"""The sentences of texts: which of them ask, and how much the others tell."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from memory.recall.parts import CLOSING, Parts
from memory.recall.text_terms import TextTerms

GOES_ON, STATES, ASKS = range(3)
MARKS = ".!?…。！？"


class Sentences:
    """The sentences of some texts, each ended by a part with a mark, or by the last word of its text."""

    def __init__(self, texts: Parts) -> None:
        self._texts = texts
        ends = np.array([_end(part) for part in texts.each], dtype=np.intp)[texts.columns]
        words = np.flatnonzero(
            np.array([_is_word(part) for part in texts.each], dtype=np.bool_)[texts.columns]
        )
        last_words, last_ends = self._last(words), self._last(np.flatnonzero(ends))
        ends[last_words[last_words > last_ends]] = STATES
        self._ended_at = np.flatnonzero(ends)
        self._is_asked = ends[self._ended_at] == ASKS

    def _last(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """The last of some places in each text; -1 where there is none."""
        last = np.full(len(self._texts.lengths), -1, dtype=np.intp)
        last[self._texts.text_of[places]] = places
        return last

    @property
    def asking(self) -> NDArray[np.float64]:
        """The share of each text's sentences that ask; 0 of a text without any."""
        text_of, count = self._texts.text_of[self._ended_at], len(self._texts.lengths)
        sentences = np.bincount(text_of, minlength=count)
        return np.bincount(text_of, self._is_asked, minlength=count) / np.maximum(1, sentences)

    @property
    def ends_asking(self) -> NDArray[np.bool_]:
        """Whether the last sentence of each text asks."""
        ends = np.zeros(len(self._texts.lengths), dtype=np.bool_)
        ends[self._texts.text_of[self._ended_at]] = self._is_asked
        return ends

    def telling(self, terms: TextTerms) -> NDArray[np.float64]:
        """How rare the words are, on average, that each text does not ask with. `terms`: of the same texts.

        From 0, of a text without any, to 1; words of grammar do not count.
        """
        # Behind the last sentence of a text there is no word, so whose sentence that is does not matter.
        places = np.arange(len(self._texts.text_of))
        sentence_of = np.searchsorted(self._ended_at, places)
        is_asked = np.append(self._is_asked, np.False_)
        return terms.rareness(~is_asked[sentence_of])


@lru_cache(maxsize=50_000)
def _end(part: str) -> int:
    """Whether a sentence goes on behind a part, or states or asks something."""
    sentence = part.rstrip(CLOSING)
    marks = sentence[len(sentence.rstrip(MARKS)) :]
    if "?" in marks or "？" in marks:
        return ASKS
    return STATES if marks else GOES_ON


@lru_cache(maxsize=50_000)
def _is_word(part: str) -> bool:
    return any(map(str.isalnum, part))
