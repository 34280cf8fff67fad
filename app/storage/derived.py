"""What is derived from the messages of a chat, and how it learns that they are no longer the same."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.storage.token_index import TokenIndex


async def cut_derived(session: AsyncSession, owner: str, session_id: str, position: int) -> None:
    """Drop what rests on the messages of the active path from `position` on; it is brought up later.

    Called in the unit of work that changes the active path there, or what of it may be in the window.
    """
    await TokenIndex(session, owner).cut(session_id, position)
