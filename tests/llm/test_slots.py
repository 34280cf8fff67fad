"""Slots: a chat goes on in its own, nobody sees another's, and memory in use is what is counted."""

import pytest
import torch

from llm.engine.blocks import Sharing
from llm.engine.slots import SlotPool
from llm.model.hold import Hold
from llm.model.kv_cache import KVCache
from tests.llm.test_kv_store import CONFIG, check, compute

ANN = Sharing("ann", "chat")


@pytest.fixture
def pool() -> SlotPool:
    return SlotPool(lambda room: KVCache(CONFIG, torch.float32, room=room), max_idle=2)


def use(pool: SlotPool, ids: list[int], sharing: Sharing | None) -> int:
    """Run a sequence in a slot; how much of it was there."""
    cache = pool.take(ids, sharing, len(ids), len(ids))
    found = cache.length
    check(cache, ids)
    compute(cache, ids, len(ids))
    pool.give_back(cache, ids, sharing)
    return found


def test_a_slot_that_is_nobodys_is_taken_before_memory_that_is_fresh_or_a_chats(pool: SlotPool) -> None:
    use(pool, [1, 2, 3], ANN)
    use(pool, [4, 5], None)
    assert use(pool, [6, 7], None) == 0
    assert use(pool, [1, 2, 3], ANN) == 3


def test_a_chat_goes_on_in_its_own_slot_as_far_as_it_is_the_same(pool: SlotPool) -> None:
    use(pool, [1, 2, 3, 4], ANN)
    assert use(pool, [1, 2, 3, 4, 5, 6], ANN) == 4
    assert use(pool, [1, 2, 9], ANN) == 2
    assert use(pool, [1, 2, 9], ANN) == 3
    assert pool.take([1, 2, 9], ANN, 2, 10).length == 2


@pytest.mark.parametrize(
    "other",
    [
        Sharing("bob", "chat"),
        Sharing("ann", "other chat"),
        Sharing("ann", None),
        Sharing("ann", "chat", hold=Hold(2, 0.5)),
        None,
    ],
)
def test_nobody_else_finds_anything_in_it(pool: SlotPool, other: Sharing | None) -> None:
    use(pool, [1, 2, 3], ANN)
    assert pool.take([1, 2, 3], other, 3, 3).length == 0
    use(pool, [1, 2, 3], Sharing("ann", "third"))
    assert pool.take([1, 2, 3], other, 3, 3).length == 0, "memory that is used again is empty"


def test_a_forgotten_chat_finds_nothing(pool: SlotPool) -> None:
    use(pool, [1, 2, 3], ANN)
    pool.forget("chat")
    assert use(pool, [1, 2, 3], ANN) == 0


def test_no_more_slots_and_bytes_are_kept_than_allowed(pool: SlotPool) -> None:
    token_bytes = KVCache(CONFIG, torch.float32).read(0, 1).nbytes
    for chat in range(5):
        use(pool, [chat] * 10, Sharing("ann", str(chat)))
    assert pool.nbytes == 2 * 10 * token_bytes
    pool.shrink(15 * token_bytes)
    assert pool.nbytes == 10 * token_bytes
    assert use(pool, [4] * 10, Sharing("ann", "4")) == 10, "the newest stays"
    pool.shrink(0)
    assert pool.nbytes == 0


def test_a_reused_slot_has_room_for_a_longer_sequence(pool: SlotPool) -> None:
    for chat in range(3):
        use(pool, [chat] * 10, Sharing("ann", str(chat)))
    long = [7] * CONFIG.context_window
    assert use(pool, long, Sharing("ann", "long")) == 0
    assert use(pool, long, Sharing("ann", "long")) == len(long)
