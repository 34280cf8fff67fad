"""The thread that brings the blocks of idle chats to the disk."""

import threading

from llm.engine.block_files import BlockFiles
from llm.engine.kv_store import KVStore

IDLE_S = 10.0
"""A chat without a turn for so long is idle."""
LOOK_EVERY_S = 2.0


class IdleSaver:
    """Runs from its making until `close`, which saves what is not saved yet."""

    def __init__(self, store: KVStore, files: BlockFiles) -> None:
        self._store = store
        self._files = files
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="idle chats to disk", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Idempotent. No sequence may run any more."""
        if not self._closing.is_set():
            self._closing.set()
            self._thread.join()
            self._save(idle_s=0.0)

    def _work(self) -> None:
        while not self._closing.wait(LOOK_EVERY_S):
            self._save(IDLE_S)

    def _save(self, idle_s: float) -> None:
        for conversation, blocks in self._store.take_unsaved(idle_s).items():
            self._files.save(conversation, blocks)
