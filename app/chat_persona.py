"""The persona of a chat session, as the session's user meets it."""

import asyncio
from dataclasses import dataclass

from app.chat_model import ChatModel
from app.settings import Settings
from app.storage.personas import StoredPersona
from app.storage.tables import SessionRow
from memory.persona import ChatUser, Persona, check_persona_fits


@dataclass(frozen=True, slots=True)
class ChatPersona:
    """A revision of a persona, and whom it speaks with."""

    stored: StoredPersona
    user: ChatUser

    @property
    def met(self) -> Persona:
        return self.stored.persona.met_by(self.user)


def user_of(row: SessionRow) -> ChatUser:
    return ChatUser(row.user_id, row.user_name)


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
