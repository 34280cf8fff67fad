"""The turns of one session as the memory layer asks for them, found through the token index."""

from collections.abc import Sequence

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from app.storage.repository import Repository
from app.storage.summaries import Summaries, as_summary
from app.storage.tables import MessageRow, MessageTokensRow
from app.storage.token_index import FingerprintedEncoder, TokenIndex, unpack_ids
from memory.messages import Message
from memory.summaries.summary import Summary


class StoredHistory(Repository):
    """`memory.protocols.History` of one session, over its token index, within one read of the database."""

    def __init__(
        self,
        session: AsyncSession,
        owner: str,
        session_id: str,
        last: MessageTokensRow | None,
        encoder: FingerprintedEncoder,
    ) -> None:
        super().__init__(session, owner)
        self.session_id = session_id
        self._encoder = encoder
        self.turn_count = last.turn + 1 if last else 0
        self.total_tokens = last.tokens_before + last.token_count if last else 0

    @classmethod
    async def open(
        cls, session: AsyncSession, owner: str, session_id: str, encoder: FingerprintedEncoder
    ) -> "StoredHistory":
        last = await TokenIndex(session, owner).last(session_id)
        return cls(session, owner, session_id, last, encoder)

    async def tokens_before(self, turn: int) -> int:
        if turn >= self.turn_count:
            return self.total_tokens
        query = self.select_columns(MessageTokensRow, func.min(MessageTokensRow.tokens_before)).where(
            MessageTokensRow.session_id == self.session_id,
            MessageTokensRow.opens_turn,
            MessageTokensRow.turn == turn,
        )
        return int((await self.session.execute(query)).scalar_one())

    async def first_turn_from(self, tokens: int) -> int:
        query = (
            self.select_columns(MessageTokensRow, MessageTokensRow.turn)
            .where(
                MessageTokensRow.session_id == self.session_id,
                MessageTokensRow.opens_turn,
                MessageTokensRow.tokens_before >= tokens,
            )
            .order_by(MessageTokensRow.tokens_before)
            .limit(1)
        )
        turn = (await self.session.execute(query)).scalar_one_or_none()
        return self.turn_count if turn is None else int(turn)

    async def summary(self, recipe: str, first_turn: int) -> Summary | None:
        row = await Summaries(self.session, self.owner).of_window(self.session_id, recipe, first_turn)
        return as_summary(row, self._encoder) if row else None

    async def messages(self, first_turn: int, end_turn: int | None = None) -> Sequence[Message]:
        first = await self._position_of(first_turn)
        query = (
            self.select_columns(
                MessageTokensRow,
                MessageRow.id,
                MessageRow.turn,
                MessageRow.role,
                MessageRow.content,
                MessageTokensRow.token_ids,
            )
            .join(MessageRow, MessageRow.id == MessageTokensRow.message_id)
            .where(MessageTokensRow.session_id == self.session_id, MessageTokensRow.position >= first)
            .order_by(MessageTokensRow.position)
        )
        if end_turn is not None:
            query = query.where(MessageTokensRow.turn < end_turn)
        return [
            Message(row.id, row.turn, row.role, row.content, unpack_ids(row.token_ids))
            for row in (await self.session.execute(query)).all()
        ]

    async def _position_of(self, turn: int) -> int:
        query = self.select_columns(MessageRow, func.min(MessageRow.position)).where(
            MessageRow.session_id == self.session_id, MessageRow.turn == turn
        )
        return int((await self.session.execute(query)).scalar_one())
