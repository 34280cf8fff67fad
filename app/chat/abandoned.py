"""Replies that nobody generates any more, because their process was killed: what there is of them is kept."""

from app.storage.claims import chat_claim
from app.storage.database import Database
from app.storage.messages import Messages, unfinished_replies


async def interrupt_abandoned(database: Database) -> list[tuple[str, str]]:
    """Mark them interrupted; gives their owners and sessions."""
    async with database.read() as session:
        unfinished = await unfinished_replies(session)
    found = []
    for owner, session_id, reply_id in unfinished:
        # Asked after the reply was read: if nobody writes to its chat now, nobody will go on with it.
        async with database.write() as session:
            if not await database.claims.is_held(session, chat_claim(session_id)):
                await Messages(session, owner).interrupt(reply_id)
                found.append((owner, session_id))
    return found
