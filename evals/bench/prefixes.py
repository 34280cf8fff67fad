"""What a KV cache that forgets nothing of a chat holds: every beginning of what was computed."""

from collections.abc import Sequence


class PrefixCache:
    """All sequences of token ids that have been computed, as a tree of their beginnings."""

    def __init__(self) -> None:
        self._children: dict[tuple[int, int], int] = {}

    def held(self, token_ids: Sequence[int]) -> int:
        """How many of the first tokens are there already."""
        node = 0
        for count, token_id in enumerate(token_ids):
            child = self._children.get((node, token_id))
            if child is None:
                return count
            node = child
        return len(token_ids)

    def add(self, token_ids: Sequence[int]) -> int:
        """Compute what is not there; how many tokens that were."""
        before = len(self._children)
        node = 0
        for token_id in token_ids:
            node = self._children.setdefault((node, token_id), len(self._children) + 1)
        return len(self._children) - before
