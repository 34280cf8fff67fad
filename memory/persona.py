"""The persona: who the model is. It is pinned: no strategy can evict or cut it."""

from dataclasses import dataclass
from itertools import chain

from memory.context import ContextMessage, Segment
from memory.errors import PersonaTooLargeError
from memory.protocols import ChatEncoder

ROOM_FOR_A_MESSAGE = 128
"""Tokens that a persona must leave for a user's message, beside the reply."""


@dataclass(frozen=True, slots=True)
class ExampleExchange:
    """One exchange that shows how the persona speaks."""

    user: str
    assistant: str


@dataclass(frozen=True, slots=True)
class Persona:
    """What the model is told of itself. With empty instructions it is told its name."""

    name: str
    instructions: str
    examples: tuple[ExampleExchange, ...] = ()

    @property
    def system_message(self) -> str:
        return self.instructions if self.instructions.strip() else f"You are {self.name}."

    @property
    def instruction_messages(self) -> tuple[ContextMessage, ...]:
        return (ContextMessage("system", self.system_message),)

    @property
    def example_messages(self) -> tuple[ContextMessage, ...]:
        return tuple(
            message
            for example in self.examples
            for message in (
                ContextMessage("user", example.user),
                ContextMessage("assistant", example.assistant),
            )
        )


def persona_segments(persona: Persona | None, encoder: ChatEncoder) -> tuple[Segment, ...]:
    """What stands at the head of every context; without a persona, what the chat template puts there."""
    if persona is None:
        preamble = encoder.encode_preamble(None)
        reason = "no persona is set: the chat template's own beginning"
        return (Segment(kind="persona", token_ids=preamble, reason=reason),) if preamble else ()
    instructions = Segment(
        kind="persona",
        token_ids=encoder.encode_preamble(persona.system_message),
        reason="pinned: the persona's instructions",
        messages=persona.instruction_messages,
    )
    if not persona.examples:
        return (instructions,)
    examples = Segment(
        kind="examples",
        token_ids=tuple(
            chain.from_iterable(
                encoder.encode_message(message.role, message.content) for message in persona.example_messages
            )
        ),
        reason="pinned: the persona's example exchanges",
        messages=persona.example_messages,
    )
    return (instructions, examples)


def check_persona_fits(
    persona: Persona, encoder: ChatEncoder, *, context_window: int, reply_tokens: int
) -> None:
    """Raise PersonaTooLargeError if the persona leaves no room for a turn."""
    persona_tokens = sum(segment.tokens for segment in persona_segments(persona, encoder))
    turn_tokens = len(encoder.generation_prompt) + reply_tokens + ROOM_FOR_A_MESSAGE
    if persona_tokens + turn_tokens > context_window:
        raise PersonaTooLargeError(
            f"the persona takes {persona_tokens} tokens; with a context window of {context_window} and "
            f"{turn_tokens} kept for a message and its reply, at most {context_window - turn_tokens} fit",
            persona_tokens=persona_tokens,
            max_persona_tokens=context_window - turn_tokens,
            context_window=context_window,
            reply_tokens=reply_tokens,
        )
