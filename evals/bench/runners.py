"""What everybody who takes part can do: our engine and its peers, behind one interface."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

OURS = "perdure"


@dataclass(frozen=True, slots=True)
class FirstToken:
    """How long the first token took, and how many tokens of the prompt were computed for it."""

    seconds: float
    computed_tokens: int


class Chat(Protocol):
    """One chat, with what is cached of it. Everything blocks."""

    def first_token(self, prompt: Sequence[int]) -> FirstToken: ...

    def take_reply(self, token_ids: Sequence[int]) -> None:
        """Have the reply's keys and values too: `token_ids` are the last prompt and a fixed reply."""

    def close(self) -> None: ...


class DecodingChat(Chat, Protocol):
    def decode(self, prompt: Sequence[int], tokens: int) -> list[float]:
        """Generate so many tokens greedily, past any end; the time of each, by `time.perf_counter`."""


class Runner(Protocol):
    @property
    def name(self) -> str: ...

    def new_chat(self, room: int) -> Chat:
        """A chat with nothing cached, of up to `room` tokens."""

    def close(self) -> None: ...


class DecodingRunner(Runner, Protocol):
    def new_chat(self, room: int) -> DecodingChat: ...

    def decode_together(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[float]]:
        """Generate so many tokens of each prompt, together; the times of each stream's tokens."""
