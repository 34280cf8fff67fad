"""The token index: each message's token ids and their running count, so that a window is found, not counted.

Derived from the messages, under one tokeniser and chat template. `bring_up` is reconciliation: it
continues where the index ends, so it may be interrupted and repeated at any point.
"""

import asyncio
from array import array
from collections.abc import Sequence
from typing import Protocol, cast

from app.storage.database import Database
from app.storage.repository import Repository
from app.storage.tables import MessageRow, MessageTokensRow
from memory.messages import Role
from memory.protocols import ChatEncoder

BATCH = 500


class FingerprintedEncoder(ChatEncoder, Protocol):
    """An encoder that says which: ids made under one fingerprint are valid under it only."""

    fingerprint: str


class TokenIndex(Repository):
    """The token index of one owner's sessions."""

    async def last(self, session_id: str) -> MessageTokensRow | None:
        query = self.select(MessageTokensRow).where(MessageTokensRow.session_id == session_id)
        return (
            await self.session.scalars(query.order_by(MessageTokensRow.position.desc()).limit(1))
        ).one_or_none()

    async def extend(
        self, messages: Sequence[MessageRow], token_ids: Sequence[Sequence[int]], fingerprint: str
    ) -> None:
        """Index messages that follow each other and begin no later than behind the last indexed one.

        Those that are indexed already, by whoever else brought the index up, are passed over.
        """
        last = await self.last(messages[0].session_id)
        indexed_to = last.position if last else -1
        tokens_before = last.tokens_before + last.token_count if last else 0
        last_turn = last.turn if last else -1
        for message, ids in zip(messages, token_ids, strict=True):
            if message.position <= indexed_to:
                continue
            self.add(
                MessageTokensRow(
                    session_id=message.session_id,
                    position=message.position,
                    message_id=message.id,
                    turn=message.turn,
                    opens_turn=message.turn != last_turn,
                    token_ids=pack_ids(ids),
                    token_count=len(ids),
                    tokens_before=tokens_before,
                    fingerprint=fingerprint,
                )
            )
            tokens_before += len(ids)
            last_turn = message.turn
        await self.session.flush()

    async def clear(self, session_id: str) -> None:
        await self.session.execute(
            self.delete(MessageTokensRow).where(MessageTokensRow.session_id == session_id)
        )

    async def missing(self, session_id: str, *, limit: int) -> Sequence[MessageRow]:
        """The oldest messages that are not indexed yet. A reply still being generated comes later."""
        last = await self.last(session_id)
        query = self.select(MessageRow).where(
            MessageRow.session_id == session_id,
            MessageRow.position > (last.position if last else -1),
            MessageRow.status != "generating",
        )
        return (await self.session.scalars(query.order_by(MessageRow.position).limit(limit))).all()


async def bring_up(
    database: Database, owner: str, session_id: str, encoder: ChatEncoder, fingerprint: str
) -> None:
    """Index what is not indexed yet; start anew if the index is of another tokeniser or template."""
    async with database.read() as session:
        last = await TokenIndex(session, owner).last(session_id)
    if last is not None and last.fingerprint != fingerprint:
        async with database.write() as session:
            await TokenIndex(session, owner).clear(session_id)
    while True:
        async with database.read() as session:
            missing = await TokenIndex(session, owner).missing(session_id, limit=BATCH)
        if not missing:
            return
        token_ids = await asyncio.to_thread(
            lambda rows: [encoder.encode_message(cast(Role, row.role), row.content) for row in rows], missing
        )
        async with database.write() as session:
            await TokenIndex(session, owner).extend(missing, token_ids, fingerprint)


def pack_ids(token_ids: Sequence[int]) -> bytes:
    return array("I", token_ids).tobytes()


def unpack_ids(packed: bytes) -> tuple[int, ...]:
    return tuple(array("I", packed))
