"""The KV store gives back what was computed, shares it with nobody else, and stays within its bytes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llm.engine.blocks import BLOCK_TOKENS, Sharing
from llm.engine.kv_store import Chain, KVStore
from llm.model.hold import Hold
from llm.model.kv_cache import KVCache
from tests.llm.tiny import tiny_config

CONFIG = tiny_config()
TOKEN_BYTES = 2 * CONFIG.layers * CONFIG.kv_heads * CONFIG.head_dim * 4
PUBLIC_PERSONA = [1] * 40


def keys_of(token_ids: Sequence[int], position: int, hold: Hold | None) -> float:
    """Stands for what a model computes: it depends on the token, all before it, and the preamble behind which
    it stands.
    """
    held = hold.tokens if hold is not None and position >= hold.tokens else 0
    return float(hash((*token_ids[: position + 1], held)) % 2**20)


def compute(cache: KVCache, token_ids: Sequence[int], tokens: int, hold: Hold | None = None) -> None:
    shape = (2, CONFIG.layers, CONFIG.kv_heads, 1, CONFIG.head_dim)
    for position in range(cache.length, min(cache.length + tokens, len(token_ids))):
        cache.write(torch.full(shape, keys_of(token_ids, position, hold)))


def check(cache: KVCache, token_ids: Sequence[int], hold: Hold | None = None) -> None:
    keys = cache.read(0, cache.length)[0, 0, 0, :, 0].tolist()
    assert keys == [keys_of(token_ids, position, hold) for position in range(cache.length)]


@dataclass
class Running:
    token_ids: list[int]
    sharing: Sharing
    chain: Chain
    cache: KVCache = field(default_factory=lambda: KVCache(CONFIG, torch.float32))


token_lists = st.lists(
    st.one_of(st.just(PUBLIC_PERSONA), st.lists(st.integers(1, 2), min_size=1, max_size=20)),
    min_size=1,
    max_size=6,
).map(lambda parts: [token for part in parts for token in part])


class AgainstRecomputing(RuleBasedStateMachine):
    """Sequences of several owners and chats, with preambles held and not, begin, grow, end, fail and are
    forgotten, in any order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.max_bytes = 24 * BLOCK_TOKENS * TOKEN_BYTES
        self.store = KVStore("model", self.max_bytes)
        self.running: list[Running] = []
        self.ever_computed: set[tuple[str, tuple[int, ...]]] = set()
        self.taken = 0

    @rule(
        token_ids=token_lists,
        owner=st.sampled_from(["ann", "bob"]),
        chat=st.sampled_from([None, "a", "b"]),
        is_public=st.booleans(),
        hold=st.sampled_from([None, Hold(24, 0.5), Hold(40, 0.5)]),
    )
    def begin(
        self, token_ids: list[int], owner: str, chat: str | None, is_public: bool, hold: Hold | None
    ) -> None:
        public = (
            len(PUBLIC_PERSONA) if is_public and token_ids[: len(PUBLIC_PERSONA)] == PUBLIC_PERSONA else 0
        )
        sharing = Sharing(owner, chat and f"{owner} {chat}", public, hold)
        expected = self.store.cached_tokens(token_ids, sharing)
        running = Running(token_ids, sharing, self.store.open(sharing))
        running.chain.follow(token_ids, running.cache, len(token_ids))
        assert running.cache.length == expected
        known = tuple(token_ids[: running.cache.length])
        if len(known) > public // BLOCK_TOKENS * BLOCK_TOKENS:
            assert any(whose == owner and ids[: len(known)] == known for whose, ids in self.ever_computed), (
                "what it found was computed for this owner"
            )
        self.running.append(running)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), tokens=st.integers(1, 70))
    def compute_and_publish(self, data: st.DataObject, tokens: int) -> None:
        running = data.draw(st.sampled_from(self.running))
        running.chain.follow(running.token_ids, running.cache, len(running.token_ids))
        compute(running.cache, running.token_ids, tokens, running.sharing.hold)
        self.ever_computed.add((running.sharing.owner, tuple(running.token_ids[: running.cache.length])))
        running.chain.publish(running.token_ids, running.cache)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), new=st.lists(st.integers(1, 2), min_size=1, max_size=20))
    def generate(self, data: st.DataObject, new: list[int]) -> None:
        running = data.draw(st.sampled_from(self.running))
        if len(running.token_ids) + len(new) <= CONFIG.context_window:
            running.token_ids += new

    @precondition(lambda self: self.running)
    @rule(data=st.data(), fails=st.booleans())
    def end(self, data: st.DataObject, fails: bool) -> None:
        running = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        if fails:
            running.chain.abandon()
            return
        forgotten = running.chain.is_forgotten or not self.store.holds(running.chain.node)
        running.chain.close(running.token_ids, running.cache)
        stats = self.store.stats
        room = self.max_bytes - self.taken - stats.nbytes >= BLOCK_TOKENS * TOKEN_BYTES
        if room and not forgotten and not stats.evicted_blocks:
            known = self.store.cached_tokens(running.token_ids, running.sharing)
            assert known >= running.cache.length, "all that was computed is kept where there is room"

    @rule(owner=st.sampled_from(["ann", "bob"]), chat=st.sampled_from(["a", "b"]))
    def forget(self, owner: str, chat: str) -> None:
        self.store.forget(f"{owner} {chat}")

    @rule(blocks=st.integers(0, 30))
    def running_caches_take(self, blocks: int) -> None:
        self.taken = blocks * BLOCK_TOKENS * TOKEN_BYTES
        self.store.make_room(self.taken)

    @invariant()
    def every_cache_holds_what_computing_would_give(self) -> None:
        for running in self.running:
            check(running.cache, running.token_ids, running.sharing.hold)

    @invariant()
    def what_is_counted_is_what_is_there(self) -> None:
        blocks = [block for block in self.store.root.subtree() if block is not self.store.root]
        stats = self.store.stats
        assert stats.blocks == len(blocks)
        assert stats.nbytes == sum(block.nbytes for block in blocks)
        if not self.running:
            assert stats.nbytes <= max(0, self.max_bytes - self.taken)
            assert not any(block.pins for block in blocks)

    def teardown(self) -> None:
        for running in self.running:
            running.chain.close(running.token_ids, running.cache)
        for owner in ("ann", "bob"):
            for chat in ("a", "b"):
                self.store.forget(f"{owner} {chat}")
        self.store.make_room(self.max_bytes)
        assert (self.store.stats.blocks, self.store.stats.nbytes) == (0, 0)


TestAgainstRecomputing: Any = AgainstRecomputing.TestCase
TestAgainstRecomputing.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def used(store: KVStore, token_ids: list[int], sharing: Sharing) -> int:
    """Run a sequence through the store; how many of its tokens were found there."""
    chain, cache = store.open(sharing), KVCache(CONFIG, torch.float32)
    chain.follow(token_ids, cache, len(token_ids))
    found = cache.length
    compute(cache, token_ids, len(token_ids))
    chain.close(token_ids, cache)
    return found


def new_store(blocks: int = 100) -> KVStore:
    return KVStore("model", blocks * BLOCK_TOKENS * TOKEN_BYTES)


def test_every_token_of_an_earlier_sequence_is_found_not_whole_blocks_only() -> None:
    store = new_store()
    ids = list(range(1, 60))
    used(store, ids, Sharing("ann", "a"))
    for length in range(1, len(ids)):
        edited = [*ids[:length], 99, 98]
        assert store.cached_tokens(edited, Sharing("ann")) == length


def test_a_persona_is_stored_once_for_all_chats_of_an_owner_and_a_public_one_for_all_owners() -> None:
    store = new_store(1000)
    persona = list(range(100, 196))
    for chat in range(16):
        used(store, [*persona, chat], Sharing("ann", str(chat)))
    own = store.stats.blocks
    assert own == len(persona) // BLOCK_TOKENS + 16
    for chat in range(16):
        used(store, [*persona, chat], Sharing(f"owner {chat}", f"public {chat}", len(persona)))
    assert store.stats.blocks == own + len(persona) // BLOCK_TOKENS + 16


def test_a_private_block_is_not_found_by_another_owner_even_behind_a_public_persona() -> None:
    store = new_store()
    persona = [5] * 32
    ids = [*persona, *range(20)]
    used(store, ids, Sharing("ann", "a", len(persona)))
    assert store.cached_tokens(ids, Sharing("ann", None, len(persona))) == len(ids)
    assert store.cached_tokens(ids, Sharing("bob", None, len(persona))) == len(persona)
    assert store.cached_tokens(ids, Sharing("ann")) == 0, "what was public is not taken for private"
    assert store.cached_tokens(ids, Sharing("bob")) == 0


def test_a_forgotten_chat_leaves_nothing_and_takes_nothing_from_others() -> None:
    store = new_store()
    persona, secret = [5] * 32, list(range(50, 90))
    used(store, [*persona, *secret], Sharing("ann", "a"))
    used(store, [*persona, 1, 2, 3], Sharing("ann", "b"))
    store.forget("a")
    assert store.cached_tokens([*persona, *secret], Sharing("ann")) == len(persona)
    assert store.cached_tokens([*persona, 1, 2, 3], Sharing("ann")) == len(persona) + 3
    store.forget("b")
    assert store.stats.nbytes == 0


def test_a_chat_forgotten_while_it_runs_keeps_nothing_of_what_it_computes_afterwards() -> None:
    store = new_store()
    ids = list(range(100))
    sharing = Sharing("ann", "a")
    chain, cache = store.open(sharing), KVCache(CONFIG, torch.float32)
    compute(cache, ids, 40)
    chain.publish(ids, cache)
    store.forget("a")
    compute(cache, ids, 60)
    chain.publish(ids, cache)
    chain.close(ids, cache)
    assert store.stats.blocks == 0


def test_the_least_recently_used_goes_first_and_the_beginning_of_a_path_last() -> None:
    store = new_store(12)
    old, new = [1] * 64, [2] * 64
    used(store, old, Sharing("ann", "old"))
    used(store, new, Sharing("ann", "new"))
    used(store, old, Sharing("ann", "old"))
    used(store, [3] * 96, Sharing("ann", "third"))
    assert store.cached_tokens(old, Sharing("ann")) == 64
    assert store.cached_tokens(new, Sharing("ann")) == 32
    assert store.stats.evicted_blocks == 2


def test_what_a_running_sequence_stands_on_is_not_evicted() -> None:
    store = new_store(8)
    ids = [1] * 64
    used(store, ids, Sharing("ann", "a"))
    chain, cache = store.open(Sharing("ann", "a")), KVCache(CONFIG, torch.float32)
    chain.follow(ids, cache, len(ids))
    used(store, [2] * 320, Sharing("ann", "b"))
    assert store.cached_tokens(ids, Sharing("ann")) == 64
    chain.close(ids, cache)
    assert store.stats.nbytes <= 8 * BLOCK_TOKENS * TOKEN_BYTES


def test_two_sequences_at_the_same_place_know_that_they_go_the_same_way() -> None:
    store = new_store()
    persona = [7] * 40
    first, second, other = [*persona, 1], [*persona, 2], [8] * 40
    chains = [store.open(Sharing("ann", chat)) for chat in "abc"]
    assert chains[1].computes_next_block_of(chains[0], second, first)
    assert not chains[2].computes_next_block_of(chains[0], other, first)
    bobs = store.open(Sharing("bob", "d"))
    assert not bobs.computes_next_block_of(chains[0], second, first)
    cache = KVCache(CONFIG, torch.float32)
    compute(cache, first, 16)
    chains[0].publish(first, cache)
    assert not chains[1].computes_next_block_of(chains[0], second, first), "it can take the block now"
    follower = KVCache(CONFIG, torch.float32)
    chains[1].follow(second, follower, len(second))
    assert follower.length == 16
    assert chains[1].computes_next_block_of(chains[0], second, first)


def test_a_chat_longer_than_calls_can_be_nested_is_stored_and_forgotten() -> None:
    tokens = 3000 * BLOCK_TOKENS
    config = replace(CONFIG, context_window=tokens)
    store = new_store(blocks=4000)
    cache = KVCache(config, torch.float32, room=tokens)
    cache.write(torch.zeros(2, CONFIG.layers, CONFIG.kv_heads, tokens, CONFIG.head_dim))
    chain = store.open(Sharing("ann", "a"))
    chain.publish([1] * tokens, cache)
    chain.close([1] * tokens, cache)
    assert store.cached_tokens([1] * tokens, Sharing("ann")) == tokens
    store.forget("a")
    assert store.stats.blocks == 0


def test_what_stands_behind_another_preamble_is_not_taken_but_the_preamble_is() -> None:
    store, ids = KVStore("model", 2**24), [1, 2, 3, 4] * 25
    used(store, ids, Sharing("ann", "a", hold=Hold(40, 0.5)))
    assert store.cached_tokens(ids, Sharing("ann", "b", hold=Hold(40, 0.5))) == len(ids)
    for other in (None, Hold(70, 0.5)):
        within = 40 // BLOCK_TOKENS * BLOCK_TOKENS
        assert store.cached_tokens(ids, Sharing("ann", "a", hold=other)) == within
    assert store.cached_tokens(ids, Sharing("ann", "a", hold=Hold(20, 0.5))) == BLOCK_TOKENS
