"""Texts cut into units of a bounded size, at the best places there are; joined, they are the text again."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial

from memory.fitting import most_that_fit

Size = Callable[[str], int]

_BREAKS = (
    re.compile(r"\n(?:[^\S\n]*\n)+"),  # blank lines
    re.compile(r"\n"),
    re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])"),  # ends of sentences
)
_DEFINITION = re.compile(
    r"^(?=(?:export |pub |public |private |protected |static |final |abstract |async |default )*"
    r"(?:def|class|func|fn|function|interface|struct|enum|trait|impl|module|namespace|type|@\w)\b)|"
    r"(?<=\n\n)(?=\S)",
    flags=re.MULTILINE,
)
"""Where something begins on the outermost level of a source file."""

MAX_BACKWARDS = 64
"""Characters that a cut is moved back at most, to keep together what is one character to a reader."""
LONGEST = 20_000
"""Characters at a time in which a text without any break is looked at."""


def cut_text(text: str, size: Size, room: int) -> Iterator[str]:
    """Units of at most `room`, cut between paragraphs, else lines, sentences, words, and last characters."""
    return _cut(text, size, room, _BREAKS)


def code_units(text: str, size: Size, room: int) -> Iterator[str]:
    """Units of at most `room`: definitions on the outermost level where they fit, else blocks, lines."""
    return _cut(text, size, room, (_DEFINITION, *_BREAKS[:2]))


def _cut(text: str, size: Size, room: int, breaks: tuple[re.Pattern[str], ...]) -> Iterator[str]:
    if len(text) <= LONGEST and size(text) <= room:
        yield text
    elif breaks:
        for unit in _split_behind(breaks[0], text, at_least=room // 4):
            yield from _cut(unit, size, room, breaks[1:])
    else:
        yield from _cut_anywhere(text, size, room)


def _split_behind(pattern: re.Pattern[str], text: str, *, at_least: int) -> Iterator[str]:
    """Cut behind what the pattern finds; not into units of a few characters: to count them takes long."""
    at = 0
    for found in pattern.finditer(text):
        if at + at_least <= found.end() < len(text) and found.end() > at:
            yield text[at : found.end()]
            at = found.end()
    yield text[at:]


def _cut_anywhere(text: str, size: Size, room: int) -> Iterator[str]:
    """As much of the text at a time as there is room for, up to a space if there is one near."""
    at = 0
    while at < len(text):
        window = text[at : at + LONGEST]
        end = max(1, most_that_fit(len(window), partial(_fits, window, size, room), max(1, room)))
        if end < len(window):
            spaces = [found.end() for found in re.finditer(r"\s+", window[:end])]
            end = spaces[-1] if spaces and spaces[-1] > end // 2 else _between_characters(window, end)
        yield window[:end]
        at += end


def _fits(text: str, size: Size, room: int, end: int) -> bool:
    return size(text[:end]) <= room


def _between_characters(text: str, end: int) -> int:
    """The last place up to `end`, and not far before it, where no character of a reader's is cut in two."""
    for place in range(end, max(0, end - MAX_BACKWARDS), -1):
        if not _is_inside_character(text, place):
            return place
    return end


def _is_inside_character(text: str, place: int) -> bool:
    """Whether a cut at `place` separates an accent, a part of an emoji or of a Hangul syllable (the rules of
    Unicode's UAX 29, without those for rare scripts)."""
    before, behind = text[place - 1], text[place]
    if behind == "\u200d" or before == "\u200d" or unicodedata.category(behind) in ("Mn", "Mc", "Me"):
        return True
    if "\U0001f3fb" <= behind <= "\U0001f3ff" or "\u1160" <= behind <= "\u11ff":
        return True
    if _is_flag_letter(before) and _is_flag_letter(behind):
        first = place
        while first > 0 and _is_flag_letter(text[first - 1]):
            first -= 1
        return (place - first) % 2 == 1
    return before + behind == "\r\n"


def _is_flag_letter(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
