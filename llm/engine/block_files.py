"""Blocks of idle chats on the disk: read back faster than computed again, after a restart too.

    <folder>/<fingerprint>/blocks/<key>          SHA-256 of what follows, then the block as safetensors
    <folder>/<fingerprint>/chats/<chat>.json     the keys of the blocks that a chat uses

They hold what people said, in effect: only the owner of the process may read them, and they go with
their chat. All of it is derived: whatever is missing or wrong is computed again.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from llm.engine.blocks import Block

VERSION = 2
DIGEST_BYTES = 32

log = logging.getLogger(__name__)


class BlockFiles:
    """The files of one model. `fingerprint`: of all that decides what keys and values are. Thread-safe.

    Within `max_bytes`, the least recently used blocks go first. Files of other fingerprints are removed:
    nobody could delete them with their chats any more.
    """

    def __init__(self, folder: Path, fingerprint: str, max_bytes: int) -> None:
        name = hashlib.sha256(f"{VERSION} {fingerprint}".encode()).hexdigest()[:16]
        self._blocks_folder = folder / name / "blocks"
        self._chats_folder = folder / name / "chats"
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._sizes: OrderedDict[bytes, int] = OrderedDict()  # least recently used first
        self._nbytes = 0
        # Each the inverse of the other, without empty sets, of the blocks in `_sizes`.
        self._chats: defaultdict[str, set[bytes]] = defaultdict(set)
        self._users: defaultdict[bytes, set[str]] = defaultdict(set)
        self._announced: set[str] = set()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for other in folder.iterdir():
            if other.name != name:
                shutil.rmtree(other, ignore_errors=True)
        for each in (folder / name, self._blocks_folder, self._chats_folder):
            each.mkdir(mode=0o700, exist_ok=True)
        self._read_folders()

    @property
    def nbytes(self) -> int:
        with self._lock:
            return self._nbytes

    def __contains__(self, key: bytes) -> bool:
        with self._lock:
            return key in self._sizes

    def load(self, key: bytes, token_ids: Sequence[int]) -> Tensor | None:
        """Keys and values of a block; None, and the file is gone, if it is not what was written."""
        with self._lock:
            if key not in self._sizes:
                return None
            try:
                kv = _unpacked(self._block_path(key).read_bytes(), token_ids)
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                log.warning("a cached block on the disk cannot be used and is dropped: %s", error)
                with contextlib.suppress(OSError):  # of a disk that takes nothing, removals either
                    self._remove(key)
                return None
            self._touch(key)
            return kv

    def announce(self, conversation: str) -> None:
        """`save` will follow, unless the chat is forgotten meanwhile."""
        with self._lock:
            self._announced.add(_chat_name(conversation))

    def save(self, conversation: str, blocks: Iterable[Block]) -> None:
        """Write those blocks of an announced chat that are not there yet.

        A disk that does not take them costs nothing but the blocks.
        """
        chat = _chat_name(conversation)
        try:
            for block in blocks:
                with self._lock:
                    if chat not in self._announced:
                        return
                    self._save_block(chat, block)
            with self._lock:
                self._evict()
                if chat in self._chats:
                    self._write_chat(chat)
        except OSError as error:
            log.warning("cached blocks cannot be written to the disk: %s", error)
        finally:
            with self._lock:
                self._announced.discard(chat)

    def forget(self, conversation: str) -> None:
        """Remove the chat's file and the blocks that no other chat uses."""
        chat = _chat_name(conversation)
        with self._lock:
            self._announced.discard(chat)
            # First: if the process dies now, the next start removes the blocks, which no chat lists.
            self._chat_path(chat).unlink(missing_ok=True)
            for key in tuple(self._chats.get(chat, ())):
                self._release(chat, key)

    def is_kept(self, conversation: str) -> bool:
        """Whether there are files of the chat, or are about to be."""
        chat = _chat_name(conversation)
        with self._lock:
            return chat in self._chats or chat in self._announced

    def _block_path(self, key: bytes) -> Path:
        return self._blocks_folder / key.hex()

    def _chat_path(self, chat: str) -> Path:
        return self._chats_folder / f"{chat}.json"

    def _save_block(self, chat: str, block: Block) -> None:
        if block.key not in self._sizes:
            content = _packed(block)
            _write(self._block_path(block.key), content)
            self._sizes[block.key] = len(content)
            self._nbytes += len(content)
        self._touch(block.key)
        self._use(chat, block.key)

    def _touch(self, key: bytes) -> None:
        """It has been used just now, for this process and those that come after it."""
        self._sizes.move_to_end(key)
        with contextlib.suppress(OSError):
            os.utime(self._block_path(key))

    def _write_chat(self, chat: str) -> None:
        """Until it is written again, it may list blocks that have been evicted since."""
        keys = sorted(key.hex() for key in self._chats[chat])
        _write(self._chat_path(chat), json.dumps(keys).encode())

    def _evict(self) -> None:
        while self._nbytes > self._max_bytes:
            self._remove(next(iter(self._sizes)))

    def _remove(self, key: bytes) -> None:
        for chat in tuple(self._users[key]):
            self._release(chat, key)

    def _use(self, chat: str, key: bytes) -> None:
        self._chats[chat].add(key)
        self._users[key].add(chat)

    def _release(self, chat: str, key: bytes) -> None:
        """A block goes with its last chat, and a chat's file with its last block.

        Files go before what is known of them, so that what could not be removed can be tried again.
        """
        keys, users = self._chats[chat], self._users[key]
        if users == {chat}:
            self._block_path(key).unlink(missing_ok=True)
        if keys == {key}:
            self._chat_path(chat).unlink(missing_ok=True)
        keys.remove(key)
        users.remove(chat)
        if not users:
            del self._users[key]
            self._nbytes -= self._sizes.pop(key)
        if not keys:
            del self._chats[chat]

    def _read_folders(self) -> None:
        """Learn what is there; remove blocks that no chat lists, chats' files of whose blocks none is left,
        and what was half written."""
        listed = {path: _listed_keys(path) for path in self._chats_folder.iterdir()}
        self._read_blocks(set().union(*listed.values()))
        for path, keys in listed.items():
            left = keys & self._sizes.keys()
            for key in left:
                self._use(path.stem, key)
            if not left:
                path.unlink(missing_ok=True)
        self._evict()

    def _read_blocks(self, listed: set[bytes]) -> None:
        names = {key.hex(): key for key in listed}
        found = []
        for path in self._blocks_folder.iterdir():
            if path.name in names:
                stat = path.stat()
                found.append((stat.st_mtime_ns, names[path.name], stat.st_size))
            else:
                path.unlink(missing_ok=True)
        for _, key, size in sorted(found):
            self._sizes[key] = size
            self._nbytes += size


def _chat_name(conversation: str) -> str:
    return hashlib.sha256(conversation.encode()).hexdigest()[:32]


def _listed_keys(path: Path) -> set[bytes]:
    """Empty, if it is not the whole file of a chat."""
    if path.suffix != ".json":
        return set()
    try:
        return {bytes.fromhex(key) for key in json.loads(path.read_bytes())}
    except (OSError, ValueError, TypeError):
        return set()


def _packed(block: Block) -> bytes:
    metadata = {"token_ids": json.dumps(block.token_ids)}
    payload = safetensors.torch.save({"kv": block.kv.cpu()}, metadata)
    return hashlib.sha256(payload).digest() + payload


def _unpacked(content: bytes, token_ids: Sequence[int]) -> Tensor:
    digest, payload = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        raise ValueError("its checksum does not match")
    header = json.loads(payload[8 : 8 + int.from_bytes(payload[:8], "little")])
    if tuple(json.loads(header["__metadata__"]["token_ids"])) != tuple(token_ids):
        raise ValueError("it holds other tokens")
    return safetensors.torch.load(payload)["kv"]


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, readable by this user alone."""
    partial = path.with_name(path.name + ".partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)  # no chat could delete it
        raise
