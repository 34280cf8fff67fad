"""New chat sessions, with what they begin with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.chat.changes import existing_persona
from app.errors import InvalidProblem
from app.storage.messages import MessageDraft, Messages
from app.storage.personas import StoredPersona
from app.storage.session_personas import SessionPersonas
from app.storage.sessions import Sessions
from app.storage.tables import SessionRow
from memory.persona import ChatUser


@dataclass(frozen=True, slots=True)
class NewSession:
    """What a session is to be. `greeting` numbers those of the persona; `said` stands behind it."""

    memory: dict[str, Any]
    user: ChatUser
    persona_id: str | None = None
    greeting: int = 0
    title: str | None = None
    prefixes: bool = False
    client_metadata: dict[str, Any] = field(default_factory=dict)
    said: Sequence[MessageDraft] = ()


async def new_session(session: AsyncSession, owner: str, new: NewSession) -> SessionRow:
    """Store the session. A greeting of the persona becomes its first message.

    Raises InvalidProblem if there is no such persona, or it has no such greeting.
    """
    stored = await existing_persona(session, owner, new.persona_id)
    row = await Sessions(session, owner).create(
        persona_id=new.persona_id,
        user_id=new.user.id,
        user_name=new.user.name,
        title=new.title,
        memory=new.memory,
        prefixes=new.prefixes,
        client_metadata=new.client_metadata,
    )
    if stored:
        await SessionPersonas(session, owner).give(row.id, stored.id)
    greeting = _greeting(stored, new.user, new.greeting)
    drafts = [*([MessageDraft("assistant", greeting)] if greeting else []), *new.said]
    if drafts:
        await Messages(session, owner).append(row.id, drafts)
    return row


def _greeting(stored: StoredPersona | None, user: ChatUser, number: int) -> str | None:
    """What the chat begins with. Raises InvalidProblem if the persona has no greeting of that number."""
    greetings = stored.persona.met_by(user).greetings if stored else (None,)
    if number >= len(greetings):
        raise InvalidProblem.of_field("greeting", f"the persona has {len(greetings) - 1} alternate greetings")
    return greetings[number]
