"""The persona: who the model is. It is pinned: no strategy can evict or cut it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, takewhile

from memory.context import ContextMessage, Segment
from memory.errors import PersonaTooLargeError
from memory.fence import one_line
from memory.protocols import ChatEncoder
from memory.reminder import SOME_TIME, Reminder, standing_reminder
from memory.templates import fill

ROOM_FOR_A_MESSAGE = 128
"""Tokens that a persona must leave for a user's message, beside the reply."""

NAMELESS = "assistant"
"""The name of a persona that a chat without one gets with instructions of its own."""

NAMELESS_USER = "User"
"""What `{{user}}` stands for where nobody gave the user a name."""


@dataclass(frozen=True, slots=True)
class ExampleExchange:
    """One exchange that shows how the persona speaks."""

    user: str
    assistant: str


@dataclass(frozen=True, slots=True)
class SpeechRule:
    """How the persona speaks with a user; with `user_id` None, with those who have no rule of their own."""

    user_id: str | None
    rule: str


@dataclass(frozen=True, slots=True)
class ChatUser:
    """The user of a chat session, as far as it is known; `name` goes before the persona's `user_name`."""

    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Persona:
    """What the model is told of itself. With empty instructions it is told its name."""

    name: str
    instructions: str
    examples: tuple[ExampleExchange, ...] = ()
    style: str = ""
    facts: tuple[str, ...] = ()
    speech_rules: tuple[SpeechRule, ...] = ()
    user_name: str | None = None
    greeting: str | None = None
    alternate_greetings: tuple[str, ...] = ()
    forbidden_phrases: tuple[str, ...] = ()
    reminder: Reminder | None = None

    def met_by(self, user: ChatUser) -> "Persona":
        """The persona as `user` meets it: names put into what was written, one speech rule at most."""
        names = self.names_for(user)
        rule = self._speech_rule(user.id)
        reminder = self.reminder
        return replace(
            self,
            instructions=fill(self.instructions, names),
            examples=tuple(
                ExampleExchange(fill(example.user, names), fill(example.assistant, names))
                for example in self.examples
            ),
            style=fill(self.style, names),
            facts=tuple(fill(fact, names) for fact in self.facts),
            speech_rules=() if rule is None else (SpeechRule(None, fill(rule, names)),),
            greeting=None if self.greeting is None else fill(self.greeting, names),
            alternate_greetings=tuple(fill(greeting, names) for greeting in self.alternate_greetings),
            forbidden_phrases=tuple(fill(phrase, names) for phrase in self.forbidden_phrases),
            reminder=reminder and Reminder(fill(reminder.text, names), reminder.depth),
        )

    def names_for(self, user: ChatUser) -> dict[str, str]:
        """What the templates stand for in a chat with `user`."""
        # What a user is called others say: in one line, it cannot pass for one of the instructions.
        return {"user": one_line(user.name or self.user_name or NAMELESS_USER), "char": self.name}

    def _speech_rule(self, user_id: str | None) -> str | None:
        rules = {rule.user_id: rule.rule for rule in self.speech_rules}
        return rules.get(user_id, rules.get(None))

    @property
    def greetings(self) -> tuple[str | None, ...]:
        """What a chat may begin with; the first is the usual one, None for nothing."""
        return (self.greeting, *self.alternate_greetings)

    @property
    def system_message(self) -> str:
        """Instructions, style, facts and speech rule, always in this order: nothing here changes by turn."""
        instructions = self.instructions if self.instructions.strip() else f"You are {self.name}."
        facts = "\n".join(f"- {fact}" for fact in self.facts)
        further = (self.style, facts, self._speech_rule(None) or "")
        return "\n\n".join([instructions, *(part for part in further if part.strip())])

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

    @property
    def pinned(self) -> tuple[ContextMessage, ...]:
        """What it says at the head of every context."""
        return (*self.instruction_messages, *self.example_messages)


def instructed(persona: Persona | None, instructions: str | None) -> Persona | None:
    """The persona with instructions in the place of its own; with None as it is."""
    if instructions is None:
        return persona
    return replace(persona, instructions=instructions) if persona else Persona(NAMELESS, instructions)


def persona_segments(
    persona: Persona | None, encoder: ChatEncoder, *, since_turn: int | None = None
) -> tuple[Segment, ...]:
    """What stands at the head of every context; without a persona, what the chat template puts there.

    `persona`: as the user of the chat meets it. `since_turn`: since when it has the chat's own instructions.
    """
    if persona is None:
        preamble = encoder.encode_preamble(None)
        reason = "no persona is set: the chat template's own beginning"
        return (Segment(kind="persona", token_ids=preamble, reason=reason),) if preamble else ()
    instructions = Segment(
        kind="persona",
        token_ids=encoder.encode_preamble(persona.system_message),
        reason="pinned: the persona's instructions"
        if since_turn is None
        else f"pinned: the chat's own instructions since turn {since_turn}, in the place of the persona's",
        messages=persona.instruction_messages,
        since_turn=since_turn,
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


def unaddressed_tokens(
    persona: Persona, user: ChatUser, encoder: ChatEncoder, met_segments: Sequence[Segment]
) -> int:
    """How many leading tokens of the persona's segments, as `user` meets it, say nothing of the user: those
    that they have in common with the ones for a user of whom nothing is known.
    """
    unaddressed, met = persona.met_by(ChatUser()), persona.met_by(user)
    if unaddressed.pinned == met.pinned:
        return sum(segment.tokens for segment in met_segments)
    segments = persona_segments(unaddressed, encoder)
    pairs = zip(_tokens_of(met_segments), _tokens_of(segments), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def persona_tokens(persona: Persona, encoder: ChatEncoder, user: ChatUser) -> int:
    """What the persona takes of every context of a chat with `user`, its reminder included."""
    met = persona.met_by(user)
    pinned = sum(segment.tokens for segment in persona_segments(met, encoder))
    if met.reminder is None:
        return pinned
    return pinned + standing_reminder(met.reminder, encoder, SOME_TIME).usual_tokens


def check_persona_fits(
    persona: Persona,
    encoder: ChatEncoder,
    *,
    context_window: int,
    reply_tokens: int,
    user: ChatUser | None = None,
) -> None:
    """Raise PersonaTooLargeError if the persona leaves no room for a turn with `user`.

    With no user, with any of those whom it has a speech rule for, and with one of whom nothing is known.
    """
    users = [user] if user else list(_users_of(persona))
    tokens = max(persona_tokens(persona, encoder, each) for each in users)
    turn_tokens = len(encoder.generation_prompt) + reply_tokens + ROOM_FOR_A_MESSAGE
    if tokens + turn_tokens > context_window:
        raise PersonaTooLargeError(
            f"the persona takes {tokens} tokens; with a context window of {context_window} and "
            f"{turn_tokens} kept for a message and its reply, at most {context_window - turn_tokens} fit",
            persona_tokens=tokens,
            max_persona_tokens=context_window - turn_tokens,
            context_window=context_window,
            reply_tokens=reply_tokens,
        )


def _tokens_of(segments: Sequence[Segment]) -> Iterator[int]:
    return chain.from_iterable(segment.token_ids for segment in segments)


def _users_of(persona: Persona) -> Iterator[ChatUser]:
    yield ChatUser()
    yield from (ChatUser(rule.user_id) for rule in persona.speech_rules if rule.user_id is not None)
