"""Pieces: a long message is several passages, since a sentence-embedding model reads its first part only."""

import re
from collections.abc import Iterator

LIMIT = 200
"""Word pieces of a passage, of the 256 that all-MiniLM-L6-v2 reads: date and speaker stand before it."""
PIECE_CHARACTERS = 4
"""What a word is cut into at the most, on average; other signs count one each."""

_SENTENCE = re.compile(r".+?(?:[.!?…]+(?=\s)|[。！？]+|\n|$)\s*", re.DOTALL | re.MULTILINE)
_WORD = re.compile(r"\s*(?:[^\W\d_]+|\S)\s*")
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")


def pieces(text: str, limit: int = LIMIT) -> list[tuple[int, int]]:
    """Where the pieces of a text begin and end, without the space around them; none of a blank one.

    None is larger than `limit` word pieces, by an estimate that holds for any model. They end where
    sentences end, if those are not longer themselves.
    """
    if len(text) <= limit:
        return [_stripped(text, 0, len(text))] if text.strip() else []
    found: list[tuple[int, int]] = []
    start, size, end = 0, 0, 0
    for stop, cost in _parts(text, limit):
        if size and size + cost > limit:
            found.append((start, end))
            start, size = end, 0
        size, end = size + cost, stop
    found.append((start, len(text)))
    return [_stripped(text, *span) for span in found if text[slice(*span)].strip()]


def _parts(text: str, limit: int) -> Iterator[tuple[int, int]]:
    """Where what is not cut ends, and its size: sentences, and the words of too long ones."""
    for sentence in _SENTENCE.finditer(text):
        size = _size(sentence.group())
        if size <= limit:
            yield sentence.end(), size
            continue
        for word in _WORD.finditer(text, sentence.start(), sentence.end()):
            at = word.start()
            while _size(text[at : word.end()]) > limit:
                at += limit
                yield at, limit
            yield word.end(), _size(text[at : word.end()])


def _size(text: str) -> int:
    """About how many word pieces a text has: rather too many than too few."""
    size = 0
    for found in _WORD.findall(text):
        word = found.strip()
        unspaced = len(_UNSPACED.findall(word))
        size += unspaced + -(-(len(word) - unspaced) // PIECE_CHARACTERS)
    return size


def _stripped(text: str, start: int, stop: int) -> tuple[int, int]:
    piece = text[start:stop]
    return start + len(piece) - len(piece.lstrip()), stop - (len(piece) - len(piece.rstrip()))
