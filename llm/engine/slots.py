"""Slots: the tensors that running sequences write their keys and values to, kept for those that follow.

The slot of a chat that has just been answered stays as it is, so its next turn copies nothing. And memory
that has been used before costs no page faults, which take longer than copying blocks into it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm.engine.blocks import Sharing, common_prefix
from llm.model.kv_cache import KVCache


@dataclass(slots=True)
class IdleSlot:
    """A cache that nobody writes to, the ids of what it holds, and whose they are."""

    cache: KVCache
    token_ids: list[int]
    sharing: Sharing | None


class SlotPool:
    """Idle slots, up to `max_idle`, least recently used first. The scheduler's thread's alone.

    `new_cache(room)` makes a cache with room for so many tokens.
    """

    def __init__(self, new_cache: Callable[[int], KVCache], max_idle: int) -> None:
        self._new_cache = new_cache
        self._max_idle = max_idle
        self._idle: list[IdleSlot] = []

    @property
    def nbytes(self) -> int:
        return sum(slot.cache.nbytes for slot in self._idle)

    def take(self, token_ids: Sequence[int], sharing: Sharing | None, limit: int, room: int) -> KVCache:
        """A cache for the caller alone, with room for so many tokens.

        It holds what the conversation's own slot has in common with the first `limit` of `token_ids`, or
        nothing.
        """
        own, known = self._own(sharing), 0
        if own is not None:
            self._idle.remove(own)
            cache = own.cache
            if own.sharing is not None and sharing is not None and own.sharing.hold == sharing.hold:
                known = min(limit, common_prefix(token_ids, own.token_ids))
        elif (nobodys := next((slot for slot in self._idle if slot.sharing is None), None)) is not None:
            self._idle.remove(nobodys)
            cache = nobodys.cache
        elif len(self._idle) < self._max_idle:
            return self._new_cache(room)
        else:
            cache = self._idle.pop(0).cache
        cache.truncate(known)
        cache.reserve(max(0, room - known))
        return cache

    def give_back(self, cache: KVCache, token_ids: Sequence[int], sharing: Sharing | None) -> None:
        """The caller is done; `token_ids` are those of what the cache holds."""
        if (old := self._own(sharing)) is not None:
            old.sharing = None  # only the newest is of use to the conversation
            self._idle.remove(old)
            self._idle.insert(0, old)
        self._idle.append(IdleSlot(cache, list(token_ids[: cache.length]), sharing))
        del self._idle[: -self._max_idle]

    def shrink(self, max_bytes: int) -> None:
        """Let go of the least recently used until the rest takes no more than `max_bytes`."""
        while self._idle and self.nbytes > max_bytes:
            self._idle.pop(0)

    def forget(self, conversation: str) -> None:
        for slot in self._idle:
            if slot.sharing is not None and slot.sharing.conversation == conversation:
                slot.sharing = None

    def _own(self, sharing: Sharing | None) -> IdleSlot | None:
        """The slot of the same conversation of the same owner."""
        if sharing is None or sharing.conversation is None:
            return None
        for slot in self._idle:
            if slot.sharing is not None and (slot.sharing.owner, slot.sharing.conversation) == (
                sharing.owner,
                sharing.conversation,
            ):
                return slot
        return None
