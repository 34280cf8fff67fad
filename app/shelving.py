"""Shelving: the messages of a session become passages on the shelf of its user and their turn's persona."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncSession

from app.chat_persona import user_of
from app.storage.database import Database
from app.storage.passages import StoredPassages
from app.storage.personas import Personas
from app.storage.session_personas import SessionPersonas
from app.storage.sessions import Sessions
from app.storage.tables import SessionRow
from memory.recall.pieces import pieces
from memory.summaries.summariser import Names

BATCH = 200


async def shelve(database: Database, owner: str, session_id: str) -> None:
    """Put what is not on the shelves yet there. It may be cut off and repeated at any point."""
    while True:
        async with database.read() as session:
            missing = await StoredPassages(session, owner).missing(session_id, limit=BATCH)
        if not missing:
            return
        cut = await asyncio.to_thread(lambda rows: {row.id: pieces(row.content) for row in rows}, missing)
        async with database.write() as session:
            chat = await Sessions(session, owner).get(session_id)
            if chat is None:
                return
            persona_of = await SessionPersonas(session, owner).by_turn(chat)
            personas = {row.turn: persona_of(row.turn) for row in missing}
            names = {
                persona_id: await _names(session, owner, chat, persona_id)
                for persona_id in dict.fromkeys(personas.values())
            }
            speakers = {row.id: names[personas[row.turn]].of(row.role) for row in missing}
            await StoredPassages(session, owner).extend(chat, missing, cut, personas, speakers)


async def _names(session: AsyncSession, owner: str, chat: SessionRow, persona_id: str | None) -> Names:
    """What the two are called; in one line, since it stands before each passage."""
    stored = await Personas(session, owner).get(persona_id) if persona_id else None
    if stored is None:
        return Names(user=_line(chat.user_name)) if chat.user_name else Names()
    names = stored.persona.names_for(user_of(chat))
    return Names(user=_line(names["user"]), assistant=_line(names["char"]))


def _line(name: str) -> str:
    return " ".join(name.split())
