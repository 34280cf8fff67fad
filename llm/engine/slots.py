"""Slots: the KV caches of recent sequences, kept so that a chat's next turn computes only what is new."""

import threading
from collections.abc import Callable, Sequence

from llm.model.kv_cache import KVCache


class Slot:
    """A KV cache, the ids it holds, and whose they are."""

    def __init__(self, cache: KVCache, token_ids: list[int], owner: str, conversation: str | None) -> None:
        self.cache = cache
        self.token_ids = token_ids
        self.owner = owner
        self.conversation = conversation
        self.in_use = True


class SlotPool:
    """All slots, within a budget of bytes; the least recently used go first.

    A slot serves requests of its owner only. Thread-safe.
    """

    def __init__(self, new_cache: Callable[[], KVCache], max_bytes: int) -> None:
        self._new_cache = new_cache
        self._max_bytes = max_bytes
        self._slots: list[Slot] = []  # least recently used first
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        with self._lock:
            return self._nbytes()

    def cached_tokens(self, prompt: Sequence[int], owner: str) -> int:
        """How many leading tokens of `prompt` need not be computed. The last one always is."""
        with self._lock:
            return self._best(prompt, owner)[1]

    def take(self, prompt: Sequence[int], owner: str, conversation: str | None) -> Slot:
        """A slot for the caller alone, holding as much of the beginning of `prompt` as is known.

        A conversation goes on in its own slot. What another conversation shares with it (a persona,
        say) is copied, so that neither voids the other's.
        """
        with self._lock:
            best, shared = self._best(prompt, owner)
            own = best is not None and best.conversation == conversation and conversation is not None
            if best is not None and own and not best.in_use:
                slot = best
                slot.cache.truncate(shared)
                del slot.token_ids[shared:]
                slot.in_use = True
                self._slots.remove(slot)
            else:
                cache = best.cache.copy(shared) if best is not None and shared else self._new_cache()
                slot = Slot(cache, list(prompt[:shared]), owner, conversation)
                self._drop(lambda old: conversation is not None and old.conversation == conversation)
            self._slots.append(slot)
            self._evict()
            return slot

    def give_back(self, slot: Slot) -> None:
        """The caller is done; the slot is kept for the conversation's next turn."""
        with self._lock:
            slot.in_use = False
            self._evict()

    def discard(self, slot: Slot) -> None:
        """The caller is done, and what the slot holds is not to be used again."""
        with self._lock:
            slot.in_use = False
            self._drop(lambda other: other is slot)

    def forget(self, conversation: str) -> None:
        """Drop what is held of a conversation; of one that is running, it is not kept afterwards."""
        with self._lock:
            self._drop(lambda slot: slot.conversation == conversation)

    def _best(self, prompt: Sequence[int], owner: str) -> tuple[Slot | None, int]:
        best, shared = None, 0
        for slot in self._slots:
            if slot.owner == owner:
                common = _common_prefix(prompt, slot.token_ids)
                if common >= shared:
                    best, shared = slot, common
        return best, min(shared, max(0, len(prompt) - 1))

    def _nbytes(self) -> int:
        return sum(slot.cache.nbytes for slot in self._slots)

    def _evict(self) -> None:
        for slot in [slot for slot in self._slots if not slot.in_use]:
            if self._nbytes() <= self._max_bytes:
                return
            self._slots.remove(slot)

    def _drop(self, unwanted: Callable[[Slot], bool]) -> None:
        self._slots = [slot for slot in self._slots if not unwanted(slot)]


def _common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return index
    return min(len(first), len(second))
