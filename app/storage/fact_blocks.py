"""What windows tell of facts, kept ready: so a turn reads few rows, however much is known.

Whatever changes what is known in a window cuts its block in the same unit of work.
"""

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import and_

from app.ids import new_id
from app.storage.fact_tables import FactBlockRow
from app.storage.repository import Repository
from app.storage.tables import SessionRow
from app.storage.token_index import pack_ids
from memory.facts.block import FactBlock

EVER = datetime(1, 1, 2, tzinfo=UTC)
"""Before anything was known."""


class FactBlocks(Repository):
    """The blocks of one owner's sessions, each of the window that begins with a turn."""

    async def get(
        self, session_id: str, first_turn: int, max_tokens: int, fingerprint: str
    ) -> FactBlockRow | None:
        """The block of that window, if it holds all facts that have room in so many tokens, or more."""
        query = (
            self.select(FactBlockRow)
            .join(SessionRow, SessionRow.id == FactBlockRow.session_id)
            .where(
                FactBlockRow.session_id == session_id,
                FactBlockRow.first_turn == first_turn,
                FactBlockRow.fingerprint == fingerprint,
                FactBlockRow.persona_id.is_not_distinct_from(SessionRow.persona_id),
            )
        )
        row = (await self.session.scalars(query)).one_or_none()
        return row if row is not None and (max_tokens <= row.max_tokens or not row.left_out) else None

    async def begin(self, session_id: str, first_turn: int, known_before: datetime) -> str:
        """Put a block down before its facts are read; gives the id to `finish` it by."""
        await self.hold_chats([session_id])
        user_id = await self._hold_facts(session_id)
        await self.session.execute(
            self.delete(FactBlockRow).where(
                FactBlockRow.session_id == session_id, FactBlockRow.first_turn == first_turn
            )
        )
        row = FactBlockRow(
            id=new_id("fbl"),
            session_id=session_id,
            first_turn=first_turn,
            user_id=user_id,
            known_before=known_before,
        )
        self.add(row)
        await self.session.flush()
        return row.id

    async def finish(
        self, block_id: str, block: FactBlock, max_tokens: int, persona_id: str | None, fingerprint: str
    ) -> None:
        """Keep what was read with the persona that the session had then, unless it was cut since."""
        await self.session.execute(
            self.update_rows(FactBlockRow)
            .where(FactBlockRow.id == block_id)
            .values(
                fingerprint=fingerprint,
                persona_id=persona_id,
                max_tokens=max_tokens,
                fact_ids=[fact.id for fact in block.facts],
                token_ids=pack_ids(block.token_ids),
                left_out=block.left_out,
            )
        )

    async def keep_only(self, session_id: str, first_turns: Collection[int]) -> None:
        """Drop the blocks of the session's other windows."""
        await self.session.execute(
            self.delete(FactBlockRow).where(
                FactBlockRow.session_id == session_id, FactBlockRow.first_turn.not_in(first_turns)
            )
        )

    async def cut(self, session_id: str, *, from_turn: int = 0, since: datetime | None = EVER) -> None:
        """Drop the blocks that a change of the facts of a session concerns.

        Its own, of windows that begin with `from_turn` or later; those of its user's other chats that tell
        what is known after `since`, or with None nothing.
        """
        user_id = await self._hold_facts(session_id)
        own = and_(FactBlockRow.session_id == session_id, FactBlockRow.first_turn >= from_turn)
        await self.session.execute(self.delete(FactBlockRow).where(own))
        if user_id is not None and since is not None:
            others = and_(FactBlockRow.user_id == user_id, FactBlockRow.known_before > since)
            await self.session.execute(
                self.delete(FactBlockRow).where(others, FactBlockRow.session_id != session_id)
            )

    async def _hold_facts(self, session_id: str) -> str | None:
        """Keep others from changing facts that the session knows, and from putting blocks of them down, until
        the end of this unit; gives the session's user."""
        query = self.select_columns(SessionRow, SessionRow.user_id).where(SessionRow.id == session_id)
        user_id: str | None = (await self.session.scalars(query)).one_or_none()
        await self.hold_names([f"facts of {session_id}" if user_id is None else f"facts of user {user_id}"])
        return user_id
