"""What a memory would send to the model, and what every memory that is compared must be able to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from evals.harness.chats import Asked, Chat, Said
from memory.persona import ChatUser, persona_segments
from memory.protocols import ChatEncoder


@dataclass(frozen=True, slots=True)
class Window:
    """The messages of a prompt, the new one last. `computed_tokens`: those that no cache held, if known.

    `took_ms`: how long it took to choose them. `persona_messages`: how many of the first tell the persona.
    """

    messages: Sequence[Said]
    prompt_tokens: int
    computed_tokens: int | None
    took_ms: float
    persona_messages: int = 0

    @property
    def remembered(self) -> Sequence[str]:
        """The texts of all but the new message."""
        return [content for _, content in self.messages[:-1]]


def window_of(
    chat: Chat, remembered: Sequence[Said], asked: Asked, encoder: ChatEncoder, took_ms: float
) -> Window:
    """The window of a memory that is not the service's: the persona, what is remembered, the message."""
    pinned = persona_segments(chat.persona.met_by(ChatUser()) if chat.persona else None, encoder)
    persona: list[Said] = [
        (message.role, message.content) for segment in pinned for message in segment.messages
    ]
    said: list[Said] = [*remembered, ("user", asked.content)]
    tokens = sum(segment.tokens for segment in pinned) + len(encoder.generation_prompt)
    tokens += sum(len(encoder.encode_message(role, content)) for role, content in said)
    return Window([*persona, *said], tokens, None, took_ms, len(persona))


class Memory(Protocol):
    """Chooses what a model sees of a chat. `settings`: what it was made with, for the result."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def window(self, chat: Chat, asked: Asked) -> Window:
        """What the model is sent to reply to `asked`, said after the chat's last turn."""
        ...
