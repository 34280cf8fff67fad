"""Changes of a session's settings: over the API, and from within the chat."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.chat.existing import existing_session
from app.chat.persona import check_fits
from app.errors import InvalidProblem
from app.models.chat import ChatModel
from app.settings import Settings
from app.storage.database import Database
from app.storage.idempotency import IdempotencyKeys
from app.storage.personas import Personas, StoredPersona
from app.storage.session_personas import SessionPersonas
from app.storage.sessions import Sessions
from app.storage.tables import SessionRow
from memory.persona import ChatUser, instructed

TOLD = ("persona_id", "user_name", "instructions")


class SessionChanges:
    """The settings of one database's sessions, which must suit one model."""

    def __init__(self, settings: Settings, database: Database, model: ChatModel) -> None:
        self._settings = settings
        self._database = database
        self._model = model

    async def apply(self, owner: str, session_id: str, changes: dict[str, Any]) -> SessionRow:
        """Change these columns of a session, from its next turn on. Another persona brings its own
        instructions.

        Raises NotFoundProblem, InvalidProblem, or PersonaTooLargeError, and then nothing is stored.
        """
        async with self._database.read() as session:
            row = await existing_session(session, owner, session_id)
        if changes.get("persona_id", row.persona_id) != row.persona_id:
            changes = {"instructions": None} | changes
        if changes.keys() & set(TOLD):
            persona_id, name, instructions = (changes.get(each, getattr(row, each)) for each in TOLD)
            await self.check_fits(owner, persona_id, ChatUser(row.user_id, name), instructions)
        async with self._database.write() as session:
            await existing_persona(session, owner, changes.get("persona_id"))
            row = await existing_session(session, owner, session_id)
            before = row.persona_id, row.instructions
            await Sessions(session, owner).update(session_id, changes)
            if (now := (row.persona_id, row.instructions)) != before:
                await SessionPersonas(session, owner).give(session_id, *now)
            await IdempotencyKeys(session, owner).keep("instructions", session_id=session_id)
        return row

    async def check_fits(
        self, owner: str, persona_id: str | None, user: ChatUser, instructions: str | None = None
    ) -> None:
        """Raise PersonaTooLargeError if the persona leaves no room for a turn as this chat has it."""
        if user.name is None and instructions is None:
            return  # checked when the persona was saved
        async with self._database.read() as session:
            stored = await existing_persona(session, owner, persona_id)
        persona = instructed(stored.persona if stored else None, instructions)
        if persona:
            await check_fits(self._model, self._settings, persona, user)


async def existing_persona(session: AsyncSession, owner: str, persona_id: str | None) -> StoredPersona | None:
    """The persona of that id. Raises InvalidProblem if there is none."""
    if persona_id is None:
        return None
    persona = await Personas(session, owner).get(persona_id)
    if persona is None:
        raise InvalidProblem.of_field("persona_id", f"persona {persona_id} does not exist")
    return persona
