"""What the coming windows of a session tell of facts, read before their turns come: a part of its upkeep."""

from app.chat.states import OpenState
from app.storage.database import Database
from app.storage.fact_blocks import FactBlocks
from app.storage.facts import Facts
from app.storage.history import StoredHistory
from app.storage.sessions import Sessions
from app.storage.token_index import FingerprintedEncoder
from memory.lookahead import coming_first_turns
from memory.strategies.remembering import remembering


class FactBlockUpkeep:
    """Keeps the blocks of the window as it stands, and of the one after its next cut, ready.

    A turn that comes before that is done reads all that is known.
    """

    def __init__(self, database: Database, encoder: FingerprintedEncoder, open_state: OpenState) -> None:
        self._database = database
        self._encoder = encoder
        self._open_state = open_state

    async def bring_up(self, owner: str, session_id: str) -> None:
        """Read what is missing for the session. Raises NotFoundProblem."""
        async with self._open_state(owner, session_id) as (chat, _):
            strategy = remembering(chat.strategy)
            if strategy is None:  # since then
                return
            first_turns, most = await coming_first_turns(chat), strategy.fact_tokens
        async with self._database.read() as session:
            blocks, fingerprint = FactBlocks(session, owner), self._encoder.fingerprint
            missing = [
                turn for turn in first_turns if await blocks.get(session_id, turn, most, fingerprint) is None
            ]
        for turn in missing:
            await read_block(self._database, owner, session_id, turn, max_tokens=most, encoder=self._encoder)
        if missing:
            async with self._database.write() as session:
                await FactBlocks(session, owner).keep_only(session_id, first_turns)


async def read_block(
    database: Database,
    owner: str,
    session_id: str,
    first_turn: int,
    *,
    max_tokens: int,
    encoder: FingerprintedEncoder,
) -> None:
    """Read the facts of a window that begins with a turn, and keep them unless they change meanwhile."""
    async with database.write() as session:
        known_before = await Facts(session, owner).known_before(session_id, first_turn)
        if known_before is None:
            return
        block_id = await FactBlocks(session, owner).begin(session_id, first_turn, known_before)
    async with database.read() as session:
        chat = await Sessions(session, owner).get(session_id)
        if chat is None:
            return
        history = await StoredHistory.open(session, owner, session_id, encoder)
        block = await history.facts_anew(first_turn, max_tokens)
    async with database.write() as session:
        blocks = FactBlocks(session, owner)
        await blocks.finish(block_id, block, max_tokens, chat.persona_id, encoder.fingerprint)
