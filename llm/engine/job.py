"""What the scheduler works on: a sequence of tokens that waits, runs, and ends."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from llm.engine.blocks import Sharing
from llm.engine.kv_store import Chain, KVStore
from llm.engine.slots import SlotPool
from llm.model.decoder import Span, WantedLogits
from llm.model.kv_cache import KVCache


class Job(ABC):
    """A sequence whose tokens are to be computed. All but `is_cancelled` is the scheduler's thread's alone.

    `token_ids` may grow while it runs; what `cache` holds of them has been computed or was found.
    While it `is_loading`, more of them can be found by another `look_up`.
    """

    wanted_logits: ClassVar[WantedLogits]
    """After which tokens of a prompt: the "last" one, or "none"."""

    def __init__(self, token_ids: Sequence[int], sharing: Sharing, *, has_slot: bool = True) -> None:
        """`has_slot`: whether it runs in the slot of its conversation, not in any."""
        self.token_ids = list(token_ids)
        self.added_at = self.began_at = time.monotonic()
        self.computed_tokens = 0
        self.is_loading = False
        self._sharing = sharing
        self._slot_sharing = sharing if has_slot else None
        self._slots: SlotPool | None = None
        self._cache: KVCache | None = None
        self._chain: Chain | None = None

    @property
    @abstractmethod
    def max_length(self) -> int:
        """How many tokens the sequence may come to have."""

    @property
    @abstractmethod
    def is_cancelled(self) -> bool: ...

    @property
    def is_decoding(self) -> bool:
        """Whether it goes on token by token, its prompt being done."""
        return False

    @property
    def generated_tokens(self) -> int:
        """How many tokens have been chosen after the prompt."""
        return 0

    @property
    def cache(self) -> KVCache:
        assert self._cache is not None
        return self._cache

    @property
    def remaining(self) -> int:
        """How many known tokens are not computed yet."""
        return len(self.token_ids) - self.cache.length

    def begin(self, slots: SlotPool, store: KVStore) -> None:
        self.began_at = time.monotonic()
        self._slots = slots
        self._cache = slots.take(self.token_ids, self._slot_sharing, self.useful_prefix, self.max_length)
        self._cache.hold = self._sharing.hold
        self._chain = store.open(self._sharing)

    def look_up(self) -> None:
        """Take from the store what it knows of the sequence by now, a part of it if it is on the disk."""
        if self._chain is not None:
            self.is_loading = not self._chain.follow(self.token_ids, self.cache, self.useful_prefix)

    @property
    def useful_prefix(self) -> int:
        """How many of the first tokens need not be computed if they are known."""
        return len(self.token_ids)

    def waits_for(self, other: "Job") -> bool:
        """Whether the other is about to compute what comes next here."""
        if self._chain is None or other._chain is None:
            return False
        return self._chain.computes_next_block_of(other._chain, self.token_ids, other.token_ids)

    def span(self, max_tokens: int) -> Span:
        """What to compute next, up to `max_tokens` tokens."""
        start = self.cache.length
        end = min(len(self.token_ids), start + max_tokens)
        wanted = self.wanted_logits if end == len(self.token_ids) else "none"
        return Span(self.token_ids[start:end], self.cache, wanted, generated=self.is_decoding)

    def take(self, span: Span, logits: Tensor) -> None:
        """A span has been computed: go on by its logits, and keep what then still counts of it."""
        self.computed_tokens += len(span.token_ids)
        self.advance(logits)
        if self._chain is not None:
            self._chain.publish(self.token_ids, self.cache)

    @abstractmethod
    def advance(self, logits: Tensor) -> None:
        """Go on by the wanted logits of the span just computed."""

    def close(self) -> None:
        """Let go of the cache; what was computed is kept. Idempotent."""
        if self._cache is None or self._slots is None:
            return
        self.leave_store()
        self._slots.give_back(self._cache, self.token_ids, self._slot_sharing)
        self._cache = None

    def leave_store(self) -> None:
        """Keep what was computed by now, and nothing of what follows. Idempotent."""
        if self._chain is not None:
            self._chain.close(self.token_ids, self.cache)
            self._chain = None

    def abandon(self) -> None:
        """Let go of the cache after a fault, of which nothing more is to be kept."""
        if self._chain is not None:
            self._chain.abandon()
        self._cache = self._chain = None


class AwaitedJob(Job):
    """A job that somebody waits for: however it ends, it tells them, once."""

    is_done = False

    @abstractmethod
    def end_cancelled(self) -> None:
        """It has been cancelled, while it waited or between two steps."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """It cannot go on."""

    @abstractmethod
    def report_end(self) -> None:
        """Tell who waits for it how it ended: the last thing done with a job."""

    def refuse(self, error: Exception) -> None:
        """It does not run, or no longer."""
        self.fail(error)
        self.report_end()
