# ruff: noqa: ARG002  (it has the interface of the real store and needs none of what it is given)
"""The KV store at its plainest, behind the interface of `llm.engine.kv_store`: it keeps nothing.

Every prompt is computed from its first token. Whatever the real store does must come out the same.
"""

from collections.abc import Sequence

from llm.engine.blocks import Sharing
from llm.engine.kv_store import StoreStats
from llm.model.kv_cache import KVCache


class NaiveStore:
    def __init__(self, fingerprint: str, max_bytes: int) -> None:
        self.fingerprint = fingerprint
        self.max_bytes = max_bytes
        self.stats = StoreStats(0, 0, 0)

    def cached_tokens(self, token_ids: Sequence[int], sharing: Sharing) -> int:
        return 0

    def open(self, sharing: Sharing) -> "NaiveChain":
        return NaiveChain()

    def forget(self, conversation: str) -> None: ...

    def make_room(self, running_bytes: int) -> None: ...


class NaiveChain:
    def follow(self, token_ids: Sequence[int], cache: KVCache, limit: int) -> None: ...

    def publish(self, token_ids: Sequence[int], cache: KVCache) -> None: ...

    def close(self, token_ids: Sequence[int], cache: KVCache) -> None: ...

    def abandon(self) -> None: ...

    def computes_next_block_of(self, other: "NaiveChain", mine: Sequence[int], theirs: Sequence[int]) -> bool:
        return False
