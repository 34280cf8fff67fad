"""Checks of a summary that a model wrote: what fails one is never stored."""

import re
from collections import Counter
from collections.abc import Sequence

from memory.errors import SummaryRefusedError

ECHO_WORDS = 8
"""So many words of the instructions in a row are an echo."""
LOOP_WORDS = 4
LOOP_SHARE = 0.3
"""A text of which more than this share is one phrase of four words, again and again, loops."""

_WORD = re.compile(r"\w+")


def check_summary(text: str, *, source: str, instructions: str) -> None:
    """Raise SummaryRefusedError if the text is empty, loops, echoes its instructions, or is as long as what
    it is to shorten."""
    words = _words(text)
    if not words:
        raise SummaryRefusedError("the summary is empty")
    if _loops(words):
        raise SummaryRefusedError("the summary repeats itself")
    if _phrases(words, ECHO_WORDS) & _phrases(_words(instructions), ECHO_WORDS):
        raise SummaryRefusedError("the summary echoes its instructions")
    if len(words) >= max(20, len(_words(source))):
        raise SummaryRefusedError(f"the summary of {len(words)} words is no shorter than its source")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _phrases(words: Sequence[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}


def _loops(words: Sequence[str]) -> bool:
    phrases = Counter(
        tuple(words[start : start + LOOP_WORDS]) for start in range(len(words) - LOOP_WORDS + 1)
    )
    most = max(phrases.values(), default=0)
    return most >= 3 and most * LOOP_WORDS > LOOP_SHARE * len(words)
