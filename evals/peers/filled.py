"""A peer among the memories that are compared: it has taken every turn of a chat before it is asked."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from evals.harness.chats import Asked, Chat
from evals.harness.windows import Window, window_of
from evals.peers.memory import PeerMemory
from memory.protocols import ChatEncoder

MOST_KEPT = 2
"""Evaluations ask two chats by turns at most: what one persona would say, and another."""


class FilledMemory:
    """`evals.harness.windows.Memory` on memories of a peer, one of each chat; `make`: gives a new one.

    Those of the chats that were asked last are kept, and no more: some hold a database.
    """

    def __init__(
        self,
        name: str,
        settings: Mapping[str, Any],
        encoder: ChatEncoder,
        make: Callable[[], PeerMemory],
    ) -> None:
        self.name = name
        self.settings = settings
        self._encoder = encoder
        self._make = make
        self._filled: dict[str, PeerMemory] = {}

    def window(self, chat: Chat, asked: Asked) -> Window:
        memory = self._memory_of(chat)
        began = time.perf_counter()
        remembered = memory.messages(asked.content)
        took_ms = 1000 * (time.perf_counter() - began)
        return window_of(chat, remembered, asked, self._encoder, took_ms)

    def _memory_of(self, chat: Chat) -> PeerMemory:
        memory = self._filled.pop(chat.name, None)
        if memory is None:
            memory = self._make()
            for said, replied in chat.turns:
                memory.take_turn(said, replied)
        if len(self._filled) == MOST_KEPT:
            del self._filled[next(iter(self._filled))]
        self._filled[chat.name] = memory
        return memory
