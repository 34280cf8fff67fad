"""What a reply is wanted to: a user's message that is new, or one that is stored already."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.chat.existing import active_message, existing_session
from app.chat.prefixes import DEFAULT_INSTRUCTIONS, PrefixError, Typed, read_typed
from app.errors import InvalidProblem, NothingToAnswerProblem
from app.ids import new_id
from app.storage.database import Database
from app.storage.marks import MarkKind, Marks
from app.storage.messages import MessageDraft, Messages
from app.storage.tables import MessageRow
from memory.assembly import NewMessage
from memory.context import ContextMessage, Segment
from memory.messages import Role
from memory.notes import note_segment
from memory.protocols import ChatEncoder
from memory.quotes import quote_notes
from memory.templates import clock_template


@dataclass(frozen=True, slots=True)
class ReplyTerms:
    """What holds for one reply alone. `instructions` stand where a persona would, or beside the one there is;
    with `keeps_all` the window has all that was said, whatever the session's strategy.
    """

    instructions: str | None = None
    keeps_all: bool = False


USUAL = ReplyTerms()


@dataclass(frozen=True, slots=True)
class ResponseAsked:
    """What is kept of a request whose reply is to be a response.

    `input_ids`: messages that were sent with it and are stored already.
    """

    request: dict[str, Any]
    input_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """A message; `stored`, with its `marks`, if it is; the reply to it that a new one `replaces`.

    `prefix`: what was typed before its content; `earlier`: messages that came with it, to be stored before
    it; `terms`: for the reply; `asked_as`: where that is to be a response.
    """

    message: NewMessage
    prefix: str | None = None
    earlier: tuple["EarlierMessage", ...] = ()
    terms: ReplyTerms = USUAL
    asked_as: ResponseAsked | None = None
    stored: MessageRow | None = None
    marks: frozenset[MarkKind] = frozenset()
    replaces: MessageRow | None = None


@dataclass(frozen=True, slots=True)
class EarlierMessage:
    """A message that is new too, and said before the one that a reply is wanted to."""

    draft: MessageDraft
    token_ids: tuple[int, ...]

    @property
    def segment(self) -> Segment:
        said = ContextMessage(self.draft.role, self.draft.content, self.draft.id)
        return Segment("message", self.token_ids, "sent together with the message to reply to", (said,))


def read_message(content: str, *, prefixes: bool) -> Typed:
    """What a request has as `content`, in a session where prefixes are on or off. Raises InvalidProblem."""
    if not prefixes:
        return Typed(content)
    try:
        return read_typed(content)
    except PrefixError as error:
        raise InvalidProblem.of_field("content", str(error)) from error


def read_instructions(typed: Typed, note: str | None) -> str | None:
    """What a `ci:` tells in the place of the persona's instructions; None: those. Raises InvalidProblem."""
    if note is not None:
        raise InvalidProblem.of_field("note", "`ci:` asks for no reply that it could be a note to")
    if typed.content.strip().lower() == DEFAULT_INSTRUCTIONS:
        return None
    if template := clock_template(typed.content):
        raise InvalidProblem.of_field("content", f"instructions must not contain {template}")
    return typed.content


async def new_question(encoder: ChatEncoder, typed: Typed, note: str | None) -> Question:
    return Question(await new_message(encoder, typed, note, message_id=new_id("msg")), typed.prefix)


async def new_message(
    encoder: ChatEncoder, typed: Typed, note: str | None = None, *, message_id: str
) -> NewMessage:
    """The message as the model gets it, with a note of its own beside the one that was typed."""

    def encoded() -> NewMessage:
        notes = [each for each in (note, typed.note) if each is not None]
        return NewMessage(
            message_id,
            typed.content,
            encoder.encode_message(typed.role, typed.content),
            tuple(note_segment(each, encoder) for each in notes),
            typed.role,
            quote_notes(encoder) if typed.kind == "qa" else None,
        )

    return await asyncio.to_thread(encoded)


async def question_of_messages(encoder: ChatEncoder, said: Sequence[tuple[Role, str]]) -> Question:
    """The question that new messages are, the last of them the user's; prefixes in them are plain text."""

    def encoded() -> tuple[EarlierMessage, ...]:
        return tuple(
            EarlierMessage(
                MessageDraft(role, content, id=new_id("msg")), encoder.encode_message(role, content)
            )
            for role, content in said[:-1]
        )

    earlier = await asyncio.to_thread(encoded)
    message = await new_message(encoder, Typed(said[-1][1]), message_id=new_id("msg"))
    message = replace(message, notes=tuple(each.segment for each in earlier))
    return Question(message, earlier=earlier)


async def stored_question(
    database: Database, encoder: ChatEncoder, owner: str, session_id: str, *, replaces: str | None
) -> Question:
    """The message that the reply `replaces` answers; without one, the last of the session.

    Raises NotFoundProblem, NotActiveProblem, or NothingToAnswerProblem if that is no user's message, or one
    that is excluded.
    """
    async with database.read() as session:
        messages, marks = Messages(session, owner), Marks(session, owner)
        reply = None
        if replaces is not None:
            reply = await active_message(session, owner, replaces)
            if reply.role != "assistant":
                raise NothingToAnswerProblem(f"message {replaces} is not a reply")
            asked = await messages.get(reply.parent_id) if reply.parent_id else None
        else:
            await existing_session(session, owner, session_id)
            asked = await messages.last(session_id)
        if asked is None or not (asked.role == "user" or asked.is_note):
            where = f"before reply {replaces}" if replaces else f"at the end of session {session_id}"
            raise NothingToAnswerProblem(f"there is no user's message {where}")
        if asked.turn in await marks.excluded_turns(session_id):
            raise NothingToAnswerProblem(f"message {asked.id} is in an excluded turn")
        kinds = (await marks.of([asked.id]))[asked.id]
    typed = Typed(asked.content) if asked.prefix is None else read_typed(asked.prefix + asked.content)
    message = await new_message(encoder, typed, message_id=asked.id)
    return Question(message, asked.prefix, stored=asked, marks=kinds, replaces=reply)
