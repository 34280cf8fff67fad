"""The KV store: keys and values of what was computed lately, each prefix once, for all chats.

A tree of blocks (see `llm.engine.blocks`). Within a budget of bytes; the least recently used go first,
ends of paths before their beginnings, and nothing that a running sequence stands on. Behind it, the blocks
of idle chats on the disk (see `llm.engine.block_files`).
"""

import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from llm.engine.block_files import BlockFiles
from llm.engine.blocks import BLOCK_TOKENS, Block, Salt, Sharing, chained_key
from llm.model.kv_cache import KVCache

MOST_LOADED = 32
"""Blocks read from the disk at a time, between two steps of the engine."""
MOST_EVICTED = 256
"""Blocks of idle chats that wait, after their eviction, to be written to the disk."""


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What the store holds now, and how many blocks it has had to give up since it was made."""

    blocks: int
    nbytes: int
    evicted_blocks: int


class KVStore:
    """Blocks of all chats. `fingerprint` identifies the model and all else that decides their contents.

    A sequence uses it through a `Chain`. Thread-safe.
    """

    def __init__(self, fingerprint: str, max_bytes: int, files: BlockFiles | None = None) -> None:
        self.lock = threading.RLock()
        self.root = Block.root(fingerprint)
        self._max_bytes = max_bytes
        self._running_bytes = 0
        self._nbytes = 0
        self._evicted = 0
        # Least recently used first. A path is touched from its end to its beginning, so that a block
        # is always newer than what stands on it.
        self._blocks: OrderedDict[Block, None] = OrderedDict()
        self._of_conversation: defaultdict[str, set[Block]] = defaultdict(set)
        self._chains: set[Chain] = set()
        self._files = files
        self._idle_since: dict[str, float] = {}
        self._evicted_unsaved: list[Block] = []

    @property
    def stats(self) -> StoreStats:
        with self.lock:
            return StoreStats(len(self._blocks), self._nbytes, self._evicted)

    @property
    def free_bytes(self) -> int:
        """What can be added before blocks must go."""
        with self.lock:
            return max(0, self._max_bytes - self._running_bytes - self._nbytes)

    def cached_tokens(self, token_ids: Sequence[int], sharing: Sharing) -> int:
        """How many tokens at the beginning of `token_ids` are known."""
        with self.lock:
            node = self.root
            while (child := self.child(node, token_ids, sharing)) is not None:
                node = child
            start = node.depth * BLOCK_TOKENS
            _, common = node.closest_child(sharing.salt(node.depth), token_ids[start : start + BLOCK_TOKENS])
            return max(start + common, self._tokens_with_files(node, token_ids, sharing))

    def open(self, sharing: Sharing) -> "Chain":
        """A path for a sequence that begins to run."""
        with self.lock:
            chain = Chain(self, sharing)
            self._chains.add(chain)
            return chain

    def forget(self, conversation: str) -> None:
        """Drop what no other conversation uses; nothing more of its running sequences will be kept."""
        with self.lock:
            self._idle_since.pop(conversation, None)
            for block in self._evicted_unsaved:
                block.conversations.discard(conversation)
            for chain in self._chains:
                if chain.sharing.conversation == conversation:
                    chain.is_forgotten = True
            for block in self._of_conversation.pop(conversation, set()):
                block.conversations.discard(conversation)
                if not block.conversations:
                    self._remove_with_all_on_it(block)
        if self._files is not None:
            self._files.forget(conversation)

    def is_cached(self, conversation: str) -> bool:
        """Whether anything is kept for that conversation, here or on the disk."""
        with self.lock:
            if conversation in self._of_conversation or any(
                conversation in block.conversations for block in self._evicted_unsaved
            ):
                return True
        return self._files is not None and self._files.is_kept(conversation)

    def make_room(self, running_bytes: int) -> None:
        """Keep free, within the budget, what the caches of running sequences take."""
        with self.lock:
            self._running_bytes = running_bytes
            self._evict()

    def child(self, node: Block, token_ids: Sequence[int], sharing: Sharing) -> Block | None:
        """The full block that continues `node` by `token_ids`, which are those of the whole sequence."""
        start = node.depth * BLOCK_TOKENS
        ids = tuple(token_ids[start : start + BLOCK_TOKENS])
        return node.children.get((sharing.salt(node.depth), ids)) if len(ids) == BLOCK_TOKENS else None

    def load_child(self, node: Block, token_ids: Sequence[int], sharing: Sharing) -> Block | None:
        """Like `child`, from the disk; it is in the tree then."""
        start = node.depth * BLOCK_TOKENS
        ids = tuple(token_ids[start : start + BLOCK_TOKENS])
        if self._files is None or len(ids) < BLOCK_TOKENS:
            return None
        salt = sharing.salt(node.depth)
        kv = self._files.load(chained_key(node.key, salt, ids), ids)
        return self.add(node, salt, ids, kv) if kv is not None else None

    def add(self, node: Block, salt: Salt, token_ids: tuple[int, ...], kv: Tensor) -> Block | None:
        """A new block on `node`, which must be pinned; None if there is no room."""
        self._evict(kv.nbytes)
        if self._nbytes + kv.nbytes > self._max_bytes - self._running_bytes:
            return None
        for (its_salt, its_ids), child in list(node.children.items()):
            if its_salt == salt and its_ids == token_ids[: len(its_ids)] and not child.pins:
                self._remove_with_all_on_it(child)  # a shorter end of the same path
        block = Block(node, salt, token_ids, kv)
        node.children[salt, token_ids] = block
        self._blocks[block] = None
        self._nbytes += block.nbytes
        return block

    def holds(self, block: Block) -> bool:
        return block is self.root or block in self._blocks

    def touch(self, node: Block, conversation: str | None) -> None:
        """The path to `node` has just been used, by that conversation."""
        for block in node.path():
            self._blocks.move_to_end(block)
            if conversation is not None:
                block.conversations.add(conversation)
                self._of_conversation[conversation].add(block)

    def close(self, chain: "Chain") -> None:
        self._chains.discard(chain)
        conversation = chain.sharing.conversation
        if conversation is not None and conversation in self._of_conversation:
            self._idle_since[conversation] = time.monotonic()
        self._evict()

    def take_unsaved(self, idle_s: float) -> dict[str, list[Block]]:
        """Whole blocks that are not on the disk, by conversation, last first: of conversations that have
        been idle for so long, and such as were evicted."""
        with self.lock:
            if self._files is None:
                return {}
            before = time.monotonic() - idle_s
            idle = [conversation for conversation, since in self._idle_since.items() if since <= before]
            unsaved: defaultdict[str, list[Block]] = defaultdict(list)
            for conversation in idle:
                del self._idle_since[conversation]
                unsaved[conversation] = sorted(
                    (block for block in self._of_conversation[conversation] if block.is_full),
                    key=lambda block: block.depth,
                    reverse=True,
                )
            for block in self._evicted_unsaved:
                for conversation in block.conversations:
                    unsaved[conversation].append(block)
            self._evicted_unsaved = []
            for conversation in unsaved:
                self._files.announce(conversation)
            return unsaved

    def _evict(self, coming: int = 0) -> None:
        limit = self._max_bytes - self._running_bytes - coming
        while self._nbytes > limit:
            victim = next((block for block in self._blocks if not block.pins and not block.children), None)
            if victim is None:
                return
            self._remove(victim)
            self._evicted += 1
            if self._is_worth_saving(victim):
                self._evicted_unsaved.append(victim)

    def _is_worth_saving(self, block: Block) -> bool:
        return (
            self._files is not None
            and block.is_full
            and bool(block.conversations)
            and block.key not in self._files
            and len(self._evicted_unsaved) < MOST_EVICTED
        )

    def _tokens_with_files(self, node: Block, token_ids: Sequence[int], sharing: Sharing) -> int:
        """How many tokens are known with what stands on the disk behind `node`, in whole blocks."""
        key, depth = node.key, node.depth
        while self._files is not None:
            ids = tuple(token_ids[depth * BLOCK_TOKENS : (depth + 1) * BLOCK_TOKENS])
            key = chained_key(key, sharing.salt(depth), ids)
            if len(ids) < BLOCK_TOKENS or key not in self._files:
                break
            depth += 1
        return depth * BLOCK_TOKENS

    def _remove_with_all_on_it(self, block: Block) -> None:
        for each in block.subtree():
            self._remove(each)

    def _remove(self, block: Block) -> None:
        if block not in self._blocks:
            return
        del self._blocks[block]
        assert block.parent is not None
        del block.parent.children[block.salt, block.token_ids]
        self._nbytes -= block.nbytes
        for conversation in block.conversations:
            blocks = self._of_conversation[conversation]
            blocks.discard(block)
            if not blocks:
                del self._of_conversation[conversation]


class Chain:
    """The path of one running sequence in the store: what it has found there, and what it has added.

    The blocks of the path are pinned until the end; `node` is the last.
    """

    def __init__(self, store: KVStore, sharing: Sharing) -> None:
        self.sharing = sharing
        self.is_forgotten = False
        self.node = store.root
        self._store = store

    def follow(self, token_ids: Sequence[int], cache: KVCache, limit: int) -> bool:
        """Continue `cache` by what the store knows of `token_ids`, up to `limit` tokens.

        Whether that was all: otherwise there is more on the disk, for another call.
        """
        with self._store.lock:
            if not self._is_kept:
                return True
            is_all = self._follow_blocks(token_ids, cache, limit)
            start = self.depth * BLOCK_TOKENS
            salt = self.sharing.salt(self.depth)
            end, common = self.node.closest_child(salt, token_ids[start : start + BLOCK_TOKENS])
            if end is not None and is_all:
                _copy(end.kv[:, :, :, :common], cache, start, limit)
            self._store.touch(self.node, self.sharing.conversation)
            return is_all

    def _follow_blocks(self, token_ids: Sequence[int], cache: KVCache, limit: int) -> bool:
        loaded = 0
        while cache.length < limit:
            place = (self.node, token_ids, self.sharing)
            child = self._store.child(*place)
            if child is None:
                if loaded == MOST_LOADED:
                    return False
                child = self._store.load_child(*place)
                loaded += 1
            if child is None:
                return True
            _copy(child.kv, cache, self.depth * BLOCK_TOKENS, limit)
            self._step_to(child)
        return True

    def publish(self, token_ids: Sequence[int], cache: KVCache) -> None:
        """Add the whole blocks that `cache` holds by now; `token_ids` are those of the sequence."""
        if (self.depth + 1) * BLOCK_TOKENS > cache.length:
            return
        with self._store.lock:
            if not self._is_kept:
                return
            while (self.depth + 1) * BLOCK_TOKENS <= cache.length:
                child = self._store.child(self.node, token_ids, self.sharing)
                child = child or self._add(token_ids, cache, BLOCK_TOKENS)
                if child is None:
                    break
                self._step_to(child)
            self._store.touch(self.node, self.sharing.conversation)

    def close(self, token_ids: Sequence[int], cache: KVCache) -> None:
        """Keep all that was computed, the last unfinished block too, and let go of the path. Idempotent."""
        with self._store.lock:
            self.publish(token_ids, cache)
            start = self.depth * BLOCK_TOKENS
            tail = tuple(token_ids[start : cache.length])
            salt = self.sharing.salt(self.depth)
            if self._is_kept and tail and self.node.closest_child(salt, tail)[1] < len(tail):
                end = self._add(token_ids, cache, len(tail))
                if end is not None:
                    self._store.touch(end, self.sharing.conversation)
            self.abandon()

    def abandon(self) -> None:
        """Let go of the path, keeping no more than has been published. Idempotent."""
        with self._store.lock:
            for block in self.node.path():
                block.pins -= 1
            self.node, self.is_forgotten = self._store.root, True
            self._store.close(self)

    def computes_next_block_of(self, other: "Chain", mine: Sequence[int], theirs: Sequence[int]) -> bool:
        """Whether both stand at the same place, and the same whole block of tokens comes next in both."""
        start = self.depth * BLOCK_TOKENS
        ids = tuple(mine[start : start + BLOCK_TOKENS])
        return (
            self.node is other.node
            and len(ids) == BLOCK_TOKENS
            and ids == tuple(theirs[start : start + BLOCK_TOKENS])
            and self.sharing.salt(self.depth) == other.sharing.salt(self.depth)
            and self._is_kept
        )

    @property
    def depth(self) -> int:
        """How many blocks the path has."""
        return self.node.depth

    @property
    def _is_kept(self) -> bool:
        return not self.is_forgotten and self._store.holds(self.node)

    def _step_to(self, child: Block) -> None:
        child.pins += 1
        self.node = child

    def _add(self, token_ids: Sequence[int], cache: KVCache, tokens: int) -> Block | None:
        start = self.depth * BLOCK_TOKENS
        ids = tuple(token_ids[start : start + tokens])
        kv = cache.read(start, start + tokens)
        return self._store.add(self.node, self.sharing.salt(self.depth), ids, kv)


def _copy(kv: Tensor, cache: KVCache, start: int, limit: int) -> None:
    """Write to `cache` what it lacks of the tokens `kv`, the first of which is the sequence's `start`th."""
    end = min(start + kv.shape[3], limit)
    if start <= cache.length < end:
        cache.write(kv[:, :, :, cache.length - start : end - start])
