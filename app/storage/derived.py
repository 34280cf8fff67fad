"""What is derived from the messages of a chat, and how it learns that they are no longer the same."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.storage.fact_blocks import FactBlocks
from app.storage.facts import Facts
from app.storage.passages import StoredPassages
from app.storage.summaries import Summaries
from app.storage.token_index import TokenIndex


async def cut_derived(
    session: AsyncSession,
    owner: str,
    session_id: str,
    position: int,
    *,
    purge: bool = False,
    same_path: bool = False,
) -> None:
    """Let go of what rests on the messages of the active path from `position` on; it is brought up later.

    Called in the unit of work that changes the active path there, or what of it may be in the window.
    What old context records name is kept for them, unless `purge` asks for it to be gone. Facts count only
    with their messages; with `same_path` these are still the same, and need not be read again.
    """
    facts, blocks = Facts(session, owner), FactBlocks(session, owner)
    await facts.hold_chats([session_id])
    if not same_path:
        await facts.lower_watermark(session_id, position)
    index = TokenIndex(session, owner)
    # From the beginning of the turn that the change may reach into: whether a turn is excluded depends on all
    # of its messages.
    opening = await index.opening_at(session_id, max(0, position - 1))
    if purge:
        await facts.purge_forgotten(session_id)
        await blocks.cut(session_id)
    else:
        turn = opening.turn if opening else 0
        await blocks.cut(session_id, from_turn=turn, since=await facts.known_since(session_id, turn))
    if opening is not None:
        await Summaries(session, owner).cut(session_id, opening.turn, purge=purge)
        position = min(position, opening.position)
    await index.cut(session_id, position)
    await StoredPassages(session, owner).cut(session_id, position, purge=purge)
