"""Memories that no figure means anything without: none, the newest or random turns, everything, an oracle.

They count tokens as the service does, and take whole turns within a budget of tokens of turns.
"""

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

from evals.harness.chats import Asked, Chat, as_messages
from evals.harness.counting import turn_tokens
from evals.harness.windows import Window, window_of
from memory.protocols import ChatEncoder


class Control(ABC):
    """Chooses turns of a chat. `encoder`: of the model that the window is for."""

    name: str

    def __init__(self, encoder: ChatEncoder, budget: int, seed: int) -> None:
        self._encoder = encoder
        self._budget = budget
        self._seed = seed

    @cached_property
    def settings(self) -> dict[str, Any]:
        return {}

    @abstractmethod
    def turns(self, chat: Chat, asked: Asked) -> Iterable[int]:
        """The numbers of the turns that it sends."""

    def window(self, chat: Chat, asked: Asked) -> Window:
        began = time.perf_counter()
        chosen = [chat.turns[turn] for turn in sorted(self.turns(chat, asked))]
        took_ms = 1000 * (time.perf_counter() - began)
        return window_of(chat, as_messages(chosen), asked, self._encoder, took_ms)

    def _within_budget(self, chat: Chat, order: Iterable[int]) -> Sequence[int]:
        """The first turns of an order, up to one that has no room."""
        room, chosen = self._budget, []
        for turn in order:
            room -= turn_tokens(self._encoder, chat.turns[turn])
            if room < 0:
                break
            chosen.append(turn)
        return chosen


class NoMemory(Control):
    name = "none"

    def turns(self, chat: Chat, asked: Asked) -> Iterable[int]:  # noqa: ARG002
        return ()


class NewestTurns(Control):
    """As many of the newest as fit the budget exactly: what a window that moves every turn holds."""

    name = "newest"

    @cached_property
    def settings(self) -> dict[str, Any]:
        return {"token_budget": self._budget}

    def turns(self, chat: Chat, asked: Asked) -> Iterable[int]:  # noqa: ARG002
        return self._within_budget(chat, reversed(range(len(chat.turns))))


class RandomTurns(Control):
    """Others for each question, the same in every run."""

    name = "random"

    @cached_property
    def settings(self) -> dict[str, Any]:
        return {"token_budget": self._budget, "seed": self._seed}

    def turns(self, chat: Chat, asked: Asked) -> Iterable[int]:
        order = list(range(len(chat.turns)))
        random.Random(f"{self._seed} {chat.name} {asked.content}").shuffle(order)
        return self._within_budget(chat, order)


class Everything(Control):
    """The whole chat, whatever the budget."""

    name = "everything"

    def turns(self, chat: Chat, asked: Asked) -> Iterable[int]:  # noqa: ARG002
        return range(len(chat.turns))


class Oracle(Control):
    """The turns that answer the question, and no other."""

    name = "oracle"

    def turns(self, chat: Chat, asked: Asked) -> Iterable[int]:  # noqa: ARG002
        return asked.evidence


CONTROLS: dict[str, Callable[[ChatEncoder, int, int], Control]] = {
    control.name: control for control in (NoMemory, NewestTurns, RandomTurns, Everything, Oracle)
}
