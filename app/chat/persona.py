"""The persona of a chat session, as the session's user meets it."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.models.chat import ChatModel
from app.settings import Settings
from app.storage.personas import Personas, StoredPersona
from app.storage.session_personas import SessionPersonas
from app.storage.tables import SessionRow
from llm.engine.interface import Preamble
from memory.assembly import ChatState
from memory.context import Context, Segment
from memory.fence import one_line
from memory.persona import (
    ChatUser,
    Persona,
    check_persona_fits,
    instructed,
    persona_segments,
    unaddressed_tokens,
)
from memory.protocols import ChatEncoder
from memory.reminder import StandingReminder, standing_reminder
from memory.summaries.summariser import Names


@dataclass(frozen=True, slots=True)
class ChatPersona:
    """A revision of a persona, and whom it speaks with.

    `since_turn`: from which turn on the session has this persona, whatever its revision; None: not known.
    `book`: the `character_book` of the card that it was imported from.
    """

    stored: StoredPersona
    user: ChatUser
    since_turn: int | None = None
    book: Any = None

    @property
    def met(self) -> Persona:
        return self.stored.persona.met_by(self.user)


@dataclass(frozen=True, slots=True)
class OwnInstructions:
    """What a session is told in the place of its persona's instructions, from a turn on."""

    text: str
    since_turn: int


async def persona_of(
    session: AsyncSession, owner: str, row: SessionRow
) -> tuple[ChatPersona | None, OwnInstructions | None]:
    """The persona of a session, and what it is told in the place of that one's instructions."""
    given, persona, own = SessionPersonas(session, owner), None, None
    found = await Personas(session, owner).with_book(row.persona_id) if row.persona_id else None
    if found:
        stored, book = found
        persona = ChatPersona(stored, user_of(row), await given.since_turn(row.id), book)
    if row.instructions is not None:
        own = OwnInstructions(row.instructions, await given.instructed_since(row.id) or 0)
    return persona, own


@dataclass(frozen=True, slots=True)
class EncodedPersona:
    """What a persona pins to the head of the context, and its reminder at this minute, local time.

    `public_tokens`: how many of the first may be known to all. Instructions of the chat's own, and what is
    said otherwise to its user, are not for others.
    """

    segments: tuple[Segment, ...]
    reminder: StandingReminder | None
    public_tokens: int


def encode_persona(
    persona: ChatPersona | None, own: OwnInstructions | None, user: ChatUser, encoder: ChatEncoder
) -> EncodedPersona:
    whole = instructed(persona.stored.persona if persona else None, own.text if own else None)
    met = whole.met_by(user) if whole else None
    reminder = met.reminder if met else None
    segments = persona_segments(met, encoder, since_turn=own.since_turn if own else None)
    public = persona is not None and persona.stored.public and own is None
    return EncodedPersona(
        segments,
        standing_reminder(reminder, encoder, datetime.now().astimezone()) if reminder else None,
        unaddressed_tokens(whole, user, encoder, segments) if whole and public else 0,
    )


def preamble_of(head: Context | ChatState) -> Preamble:
    """What a context begins with, as an engine is told of it."""
    return Preamble(head.preamble_tokens, head.public_tokens)


def user_of(row: SessionRow) -> ChatUser:
    return ChatUser(row.user_id, row.user_name)


def names_in_notes(persona: ChatPersona | None) -> Names:
    """What the two are called in summaries; in one line, since each has one."""
    return _names(persona.stored, persona.user) if persona else Names()


async def names_with(session: AsyncSession, owner: str, chat: SessionRow, persona_id: str | None) -> Names:
    """What the two are called in what is kept of turns of that persona, or of one that is gone."""
    stored = await Personas(session, owner).get(persona_id) if persona_id else None
    if stored is None:
        return Names(user=one_line(chat.user_name)) if chat.user_name else Names()
    return _names(stored, user_of(chat))


def _names(stored: StoredPersona, user: ChatUser) -> Names:
    names = stored.persona.names_for(user)
    return Names(user=names["user"], assistant=one_line(names["char"]))


async def check_fits(
    model: ChatModel, settings: Settings, persona: Persona, user: ChatUser | None = None
) -> None:
    """Raise PersonaTooLargeError if the persona leaves no room for a turn with `user`, or with anybody."""
    await asyncio.to_thread(
        check_persona_fits,
        persona,
        model.tokenizer,
        context_window=model.context_window,
        reply_tokens=settings.reply_tokens,
        user=user,
    )
