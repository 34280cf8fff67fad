"""Prompt-lookup decoding: what was said before is likely to be said again, so guess from it.

A draft is what followed the latest earlier occurrence of the sequence's last tokens (Saxena 2023,
https://github.com/apoorvumang/prompt-lookup-decoding). The decoder checks all of it in one step. Nothing
here knows how; a wrong draft costs time and never changes a reply (see `llm.engine.reply`).
"""

from collections.abc import Sequence, Set

NGRAM = 3
"""How many last tokens are looked for. Two foresee more, and wrongly: no reply gained by them."""
DRAFT_LENGTHS = (0, 1, 3, 7)
"""Tokens of a draft, by trust: it rises by one with each token that was foreseen, and falls by one with
each that was foreseen wrongly."""


class Drafter:
    """Guesses how one sequence goes on. What it guesses follows from the sequence alone.

    `token_ids` are the caller's, who appends to them; those from `prompt_tokens` on are the reply, by which
    guesses are judged, whether they were asked for or not. No draft goes on after one of `end_ids`.
    """

    def __init__(self, token_ids: Sequence[int], prompt_tokens: int, end_ids: Set[int]) -> None:
        self._token_ids = token_ids
        self._prompt_tokens = prompt_tokens
        self._end_ids = end_ids
        self._indexed = 0
        self._after: dict[tuple[int, ...], int] = {}  # the place after each n-gram's latest occurrence
        self._source: int | None = None  # the place of the token that is foreseen next
        self._trust = 0

    def draft(self, limit: int) -> list[int]:
        """Up to `limit` tokens that may come next; none if there is no reason to expect any.

        Takes time for the tokens that have come since the last call, and not for those before.
        """
        while self._indexed < len(self._token_ids):
            self._judge()
            self._index_next()
        if self._source is None:
            return []
        known, draft = self._token_ids, list[int]()
        for place in range(self._source, self._source + min(limit, DRAFT_LENGTHS[self._trust])):
            draft.append(known[place] if place < len(known) else draft[place - len(known)])
            if draft[-1] in self._end_ids:
                break
        return draft

    def _judge(self) -> None:
        """Whether the next token was foreseen."""
        if self._source is None or self._indexed < self._prompt_tokens:
            return
        if self._token_ids[self._indexed] == self._token_ids[self._source]:
            self._trust = min(self._trust + 1, len(DRAFT_LENGTHS) - 1)
        else:
            self._trust = max(self._trust - 1, 0)

    def _index_next(self) -> None:
        self._indexed += 1
        if self._indexed >= NGRAM:
            ngram = tuple(self._token_ids[self._indexed - NGRAM : self._indexed])
            self._source = self._after.get(ngram)
            self._after[ngram] = self._indexed
