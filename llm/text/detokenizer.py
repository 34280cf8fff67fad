"""From generated ids to text while they come: whole characters only."""

from collections.abc import Callable, Sequence

LONGEST_UNFINISHED = 4
"""A character has at most 4 bytes in UTF-8 and a token at least one: no more tokens can be waiting for it."""

REPLACEMENT = "\ufffd"

Decode = Callable[[Sequence[int]], str]


class Detokenizer:
    """Gives the text that each further id adds; nothing while a character is unfinished.

    Only the last few ids are decoded each time: with one finished token before them, since some
    tokenisers treat the first token of a text unlike the others.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._before: list[int] = []
        self._pending: list[int] = []

    def add(self, token_id: int) -> str:
        self._pending.append(token_id)
        text = self._new_text()
        if text.endswith(REPLACEMENT) and len(self._pending) < LONGEST_UNFINISHED:
            return ""
        self._finish_pending()
        return text

    def end(self) -> str:
        """What is whole of the text still held back; an unfinished character is dropped."""
        if not self._pending:
            return ""
        text = self._new_text().rstrip(REPLACEMENT)
        self._finish_pending()
        return text

    def _new_text(self) -> str:
        return self._decode(self._before + self._pending)[len(self._decode(self._before)) :]

    def _finish_pending(self) -> None:
        self._before, self._pending = self._pending, []


def ids_of_text(
    token_ids: Sequence[int], text: str, decode: Decode, encode: Callable[[str], Sequence[int]]
) -> tuple[int, ...]:
    """Ids that decode to `text`, a beginning of what `token_ids` decode to.

    As many of the generated ids as lie wholly within the text, then what is left of it encoded anew.
    """
    if decode(token_ids) == text:
        return tuple(token_ids)
    kept = len(token_ids)
    while kept and not text.startswith(decode(token_ids[:kept])):
        kept -= 1
    whole = tuple(token_ids[:kept])
    return (*whole, *encode(text[len(decode(whole)) :]))
