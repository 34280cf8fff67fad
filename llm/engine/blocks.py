"""Blocks: the keys and values of a few tokens in a row, and the tree that they form by what stands before."""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from llm.model.hold import Hold

BLOCK_TOKENS = 16


class Salt(NamedTuple):
    """What keeps a block, and all after it, apart from the same tokens of others.

    `owner`: None if it is public. `held_tokens`: of the preamble that it was computed with in view.
    """

    owner: str | None
    held_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Sharing:
    """What may use what a request computes.

    All of it is the owner's alone, but for the blocks that lie wholly within the first `public_tokens`. What
    stands behind a preamble that keeps its share is only of use where the same one does.
    `conversation`: with whose end it is forgotten.
    """

    owner: str
    conversation: str | None = None
    public_tokens: int = 0
    hold: Hold | None = None

    def salt(self, block_index: int) -> Salt:
        end = (block_index + 1) * BLOCK_TOKENS
        held = self.hold.tokens if self.hold is not None else 0
        return Salt(None if end <= self.public_tokens else self.owner, held if held < end else 0)


class Block:
    """Immutable keys and values `kv [2, layers, kv_heads, tokens, head_dim]` of up to `BLOCK_TOKENS` tokens.

    What they are depends on all that stands before, which is the path from the tree's root to here. A
    block that is not full ends a path. `key` names the path: a hash chained from block to block. `depth` is
    the number of blocks on it.
    """

    __slots__ = ("children", "conversations", "depth", "key", "kv", "parent", "pins", "salt", "token_ids")

    def __init__(self, parent: "Block", salt: Salt, token_ids: tuple[int, ...], kv: Tensor) -> None:
        self.parent: Block | None = parent
        self.depth: int = parent.depth + 1
        self.salt = salt
        self.token_ids = token_ids
        self.kv = kv
        self.key: bytes = chained_key(parent.key, salt, token_ids)
        self.children: dict[tuple[Salt, tuple[int, ...]], Block] = {}
        self.pins = 0
        self.conversations: set[str] = set()

    @classmethod
    def root(cls, fingerprint: str) -> "Block":
        """The beginning of all sequences. `fingerprint`: of all that decides what keys and values are."""
        block = cls.__new__(cls)
        block.parent, block.salt, block.token_ids = None, Salt(None), ()
        block.depth = 0
        block.key = hashlib.sha256(fingerprint.encode()).digest()
        block.children = {}
        block.pins = 1
        block.conversations = set()
        return block

    @property
    def nbytes(self) -> int:
        return self.kv.nbytes

    @property
    def is_full(self) -> bool:
        return len(self.token_ids) == BLOCK_TOKENS

    def path(self) -> Iterator["Block"]:
        """This block and those before it, the root excepted, last first."""
        block = self
        while block.parent is not None:
            yield block
            block = block.parent

    def subtree(self) -> Iterator["Block"]:
        """This block and all that stand on it, each after its own children."""
        found = [self]
        for block in found:  # which grows meanwhile: paths are longer than calls can be nested
            found += block.children.values()
        yield from reversed(found)

    def closest_child(self, salt: Salt, token_ids: Sequence[int]) -> tuple["Block | None", int]:
        """The child that has most of its first tokens in common with `token_ids`, and how many."""
        best, most = None, 0
        for (its_salt, its_ids), child in self.children.items():
            if its_salt == salt and its_ids[:1] == tuple(token_ids[:1]):
                common = common_prefix(its_ids, token_ids)
                if common > most:
                    best, most = child, common
        return best, most


def chained_key(parent_key: bytes, salt: Salt, token_ids: Sequence[int]) -> bytes:
    """SHA-256 over what stands before, what may share it, and the tokens."""
    digest = hashlib.sha256(parent_key)
    secret = b"public" if salt.owner is None else b"owner" + salt.owner.encode()
    digest.update(struct.pack("<qq", salt.held_tokens, len(secret)) + secret)
    digest.update(struct.pack(f"<{len(token_ids)}q", *token_ids))
    return digest.digest()


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return index
    return min(len(first), len(second))
