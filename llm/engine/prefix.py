"""The beginning of a next prompt, computed while nobody waits for anything."""

from collections.abc import Sequence

from torch import Tensor

from llm.engine.blocks import Sharing
from llm.engine.job import Job


class PrefixJob(Job):
    """Computes tokens into the store, and nothing more.

    `is_next`: whether the conversation's next prompt begins so. The prefix of a later one leaves the
    conversation's slot alone, and needs room in the store.
    """

    wanted_logits = "none"

    def __init__(self, token_ids: Sequence[int], sharing: Sharing, *, is_next: bool) -> None:
        super().__init__(token_ids, sharing, has_slot=is_next)
        self.is_next = is_next
        self._is_cancelled = False

    @property
    def max_length(self) -> int:
        return len(self.token_ids)

    @property
    def is_cancelled(self) -> bool:
        return self._is_cancelled

    def cancel(self) -> None:
        self._is_cancelled = True

    def advance(self, _logits: Tensor) -> None:
        """There is nothing to go on with: all tokens were known from the start."""
