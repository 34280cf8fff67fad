"""Shelving: the messages of a session become passages on the shelf of its user and their turn's persona."""

import asyncio

from app.chat.persona import names_with
from app.storage.database import Database
from app.storage.passages import StoredPassages
from app.storage.session_personas import SessionPersonas
from app.storage.sessions import Sessions
from memory.recall.pieces import pieces

BATCH = 200


async def shelve(database: Database, owner: str, session_id: str) -> int:
    """Put what is not on the shelves yet there; gives how many messages that was. It may be cut off and
    repeated at any point.
    """
    shelved = 0
    while True:
        async with database.read() as session:
            missing = await StoredPassages(session, owner).missing(session_id, limit=BATCH)
        if not missing:
            return shelved
        cut = await asyncio.to_thread(lambda rows: {row.id: pieces(row.content) for row in rows}, missing)
        async with database.write() as session:
            chat = await Sessions(session, owner).get(session_id)
            if chat is None:
                return shelved
            persona_of = await SessionPersonas(session, owner).by_turn(chat)
            personas = {row.turn: persona_of(row.turn) for row in missing}
            names = {
                persona_id: await names_with(session, owner, chat, persona_id)
                for persona_id in dict.fromkeys(personas.values())
            }
            speakers = {row.id: names[personas[row.turn]].of(row.role) for row in missing}
            await StoredPassages(session, owner).extend(chat, missing, cut, personas, speakers)
        shelved += len(missing)
        if len(missing) < BATCH:
            return shelved
