"""From generated ids to text while they come: whole characters only."""

from collections.abc import Callable, Sequence

LONGEST_UNFINISHED = 4
"""A character has at most 4 bytes in UTF-8 and a token at least one: no more tokens can be waiting for it."""

REPLACEMENT = "\ufffd"

Decode = Callable[[Sequence[int]], str]


class Detokenizer:
    """Gives the text that each further id adds; nothing while a character is unfinished.

    Only the last few ids are decoded each time: with finished tokens before them, since some tokenisers
    treat the first token of a text unlike the others. Bytes that are no character go out as U+FFFD once
    they can no longer become one.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._before: list[int] = []
        self._pending: list[int] = []
        self._passed = 0  # characters of the pending ids' text that have gone out

    def add(self, token_id: int) -> str:
        self._pending.append(token_id)
        text = self._pending_text()
        if not text.endswith(REPLACEMENT):
            return self._finish_pending(text)
        if len(self._pending) < LONGEST_UNFINISHED:
            return ""
        # Too much for one character: all but the last is settled, and the last may yet become another.
        new, self._passed = text[self._passed : -1], len(text) - 1
        if len(self._pending) == 2 * LONGEST_UNFINISHED:
            self._shorten_pending()
        return new

    def end(self) -> str:
        """What is whole of the text still held back; an unfinished character is dropped."""
        if not self._pending:
            return ""
        return self._finish_pending(self._pending_text().rstrip(REPLACEMENT))

    def _pending_text(self) -> str:
        return self._decode(self._before + self._pending)[len(self._decode(self._before)) :]

    def _finish_pending(self, text: str) -> str:
        new = text[self._passed :]
        self._before, self._pending, self._passed = self._pending, [], 0
        return new

    def _shorten_pending(self) -> None:
        """Keep as many ids as the character that may just begin can need; its U+FFFD is the one held back."""
        self._before = self._pending[:-LONGEST_UNFINISHED]
        self._pending = self._pending[-LONGEST_UNFINISHED:]
        self._passed = len(self._pending_text()) - 1


def ids_of_text(
    token_ids: Sequence[int], text: str, decode: Decode, encode: Callable[[str], Sequence[int]]
) -> tuple[int, ...]:
    """Ids that decode to `text`, a beginning of what `token_ids` decode to.

    As many of the generated ids as lie wholly within the text, then what is left of it encoded anew.
    Some tokenisers put a space before whatever they encode; with them, all of the text is encoded anew.
    """
    if decode(token_ids) == text:
        return tuple(token_ids)
    count = len(token_ids)
    while count and not text.startswith(decode(token_ids[:count])):
        count -= 1
    whole = tuple(token_ids[:count])
    kept = (*whole, *encode(text[len(decode(whole)) :]))
    return kept if decode(kept) == text else tuple(encode(text))
