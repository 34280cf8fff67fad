"""The files of blocks are what a plain model says, and a kill leaves none that no chat can delete."""

import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from llm.engine.block_files import BlockFiles, _chat_name
from llm.engine.blocks import BLOCK_TOKENS, Block, Salt

ROOT = Block.root("model")
BLOCKS = [
    Block(
        ROOT,
        Salt("ann"),
        (number,) * BLOCK_TOKENS,
        torch.full((2, 1, 1, BLOCK_TOKENS, 4 * number), number / 7),
    )
    for number in range(1, 7)
]
CHATS = ["a", "b", "c"]

chats = st.sampled_from(CHATS)
some_blocks = st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=6)
steps = st.integers(0, 5)
limits = st.sampled_from([3_500, 7_000, 100_000])


@cache
def sizes() -> dict[bytes, int]:
    """The bytes of each block's file."""
    with tempfile.TemporaryDirectory() as folder:
        files = BlockFiles(Path(folder), "model", 100_000)
        files.announce("a")
        files.save("a", BLOCKS)
        return {bytes.fromhex(path.name): path.stat().st_size for path in Path(folder).glob("*/blocks/*")}


class Killed(BaseException):
    """The process is no more."""


@contextmanager
def killed(step: int) -> Iterator[None]:
    """The process dies before it would give a file its name, or remove one, for the `step`th time."""
    steps = itertools.count()

    def mortal(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if next(steps) >= step:
                raise Killed
            return method(*arguments, **options)

        return call

    with (
        patch.object(Path, "unlink", mortal(Path.unlink)),
        patch.object(Path, "replace", mortal(Path.replace)),
        suppress(Killed),
    ):
        yield


def keys_in(chat_file: Path) -> set[bytes]:
    return {bytes.fromhex(key) for key in json.loads(chat_file.read_bytes())}


class AgainstPlainSets(RuleBasedStateMachine):
    """Chats are saved and forgotten, blocks used, damaged and evicted, processes ended and killed."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.there: list[bytes] = []  # least recently used first
        self.used: dict[str, set[bytes]] = {}
        self.listed: dict[str, set[bytes]] = {}  # what a chat's file says: with blocks evicted since
        self.start(100_000)

    def start(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.files = BlockFiles(self.folder, "model", max_bytes)
        (model_folder,) = self.folder.iterdir()
        self.block_folder, self.chat_folder = model_folder / "blocks", model_folder / "chats"

    def save_now(self, chat: str, blocks: list[Block]) -> None:
        self.files.announce(chat)
        self.files.save(chat, blocks)

    @rule(chat=chats, blocks=some_blocks)
    def save(self, chat: str, blocks: list[Block]) -> None:
        self.save_now(chat, blocks)
        for block in blocks:
            self.expect_use(block.key)
            self.used.setdefault(chat, set()).add(block.key)
        self.expect_eviction()
        if chat in self.used:
            self.listed[chat] = set(self.used[chat])

    @rule(chat=chats, blocks=some_blocks, is_about_to_be_saved=st.booleans())
    def forget(self, chat: str, blocks: list[Block], is_about_to_be_saved: bool) -> None:
        if is_about_to_be_saved:
            self.files.announce(chat)
        self.files.forget(chat)
        self.files.save(chat, blocks)
        self.used.pop(chat, None)
        self.listed.pop(chat, None)
        self.there = [key for key in self.there if any(key in keys for keys in self.used.values())]

    @rule(block=st.sampled_from(BLOCKS))
    def load(self, block: Block) -> None:
        kv = self.files.load(block.key, block.token_ids)
        assert (kv is not None) == (block.key in self.files) == (block.key in self.there)
        if kv is not None:
            assert torch.equal(kv, block.kv)
            self.expect_use(block.key)

    @rule(block=st.sampled_from(BLOCKS))
    def damage(self, block: Block) -> None:
        if block.key in self.there:
            (self.block_folder / block.key.hex()).write_bytes(b"something else")
            assert self.files.load(block.key, block.token_ids) is None
            self.expect_gone(block.key)

    @rule(max_bytes=limits)
    def restart(self, max_bytes: int) -> None:
        times = {key: (self.block_folder / key.hex()).stat().st_mtime_ns for key in self.there}
        self.start(max_bytes)
        self.there.sort(key=lambda key: (times[key], key))
        there = {chat: keys & set(self.there) for chat, keys in self.listed.items()}
        self.used = {chat: keys for chat, keys in there.items() if keys}
        self.listed = {chat: self.listed[chat] for chat in self.used}
        self.expect_eviction()

    @rule(chat=chats, blocks=some_blocks, step=steps)
    def kill_while_saving(self, chat: str, blocks: list[Block], step: int) -> None:
        with killed(step):
            self.save_now(chat, blocks)
        self.start_after_kill()

    @rule(chat=chats, step=steps)
    def kill_while_forgetting(self, chat: str, step: int) -> None:
        others = self.listed.keys() - {chat}
        with killed(step):
            self.files.forget(chat)
        self.start_after_kill()
        if step > 0:
            assert self.listed.keys() == others, "a chat of which something is gone goes wholly"

    @rule(max_bytes=limits, step=steps)
    def kill_while_starting(self, max_bytes: int, step: int) -> None:
        with killed(step):
            self.start(max_bytes)
        self.start_after_kill()

    def start_after_kill(self) -> None:
        """Blocks may be lost; the others are right, and will go with their chats."""
        self.start(self.max_bytes)
        paths = {chat: self.chat_folder / f"{_chat_name(chat)}.json" for chat in CHATS}
        self.listed = {chat: keys_in(path) for chat, path in paths.items() if path.exists()}
        self.there = sorted(bytes.fromhex(path.name) for path in self.block_folder.iterdir())
        self.used = {chat: keys & set(self.there) for chat, keys in self.listed.items()}
        assert all(self.used.values()), "each chat has a block"
        assert set(self.there) == set().union(*self.used.values()), "each block is one of a chat"
        for block in BLOCKS:
            self.load(block)

    def expect_use(self, key: bytes) -> None:
        self.there = [*(each for each in self.there if each != key), key]

    def expect_gone(self, key: bytes) -> None:
        self.there.remove(key)
        for chat in [chat for chat, keys in self.used.items() if key in keys]:
            self.used[chat].remove(key)
            if not self.used[chat]:
                del self.used[chat]
                self.listed.pop(chat, None)  # it has none yet when it is just being saved

    def expect_eviction(self) -> None:
        while sum(sizes()[key] for key in self.there) > self.max_bytes:
            self.expect_gone(self.there[0])

    @invariant()
    def the_files_are_what_the_model_says(self) -> None:
        assert {path.name for path in self.block_folder.iterdir()} == {key.hex() for key in self.there}
        listed = {path.name: keys_in(path) for path in self.chat_folder.iterdir()}
        assert listed == {f"{_chat_name(chat)}.json": keys for chat, keys in self.listed.items()}
        assert self.files.nbytes == sum(path.stat().st_size for path in self.block_folder.iterdir())
        assert self.files.nbytes <= self.max_bytes

    def teardown(self) -> None:
        for chat in CHATS:
            self.files.forget(chat)
        assert not [path for path in self.folder.rglob("*") if path.is_file()]
        shutil.rmtree(self.folder)


TestAgainstPlainSets: Any = AgainstPlainSets.TestCase
TestAgainstPlainSets.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
