"""The token index: each message's token ids and their running count, so that a window is found, not counted.

Derived from the messages of the active path, under one tokeniser and chat template. `bring_up` is
reconciliation: it continues where the index ends, so it may be interrupted and repeated at any point.
"""

import asyncio
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Protocol, cast

from sqlalchemy import Select, String, and_, bindparam

from app.storage.database import Database
from app.storage.marks import Marks
from app.storage.messages import DELETED
from app.storage.repository import Found, Repository, prepared
from app.storage.tables import (
    ON_ACTIVE_PATH,
    MessageMarkRow,
    MessageRow,
    MessageTokensRow,
    SampledTokensRow,
)
from memory.messages import Role
from memory.protocols import ChatEncoder

BATCH = 500


class FingerprintedEncoder(ChatEncoder, Protocol):
    """An encoder that says which: ids made under one fingerprint are valid under it only."""

    fingerprint: str


@dataclass(frozen=True, slots=True)
class IndexEnd:
    """The last message that is indexed, and all before it. `has_marks`: whether any of the chat has one."""

    position: int
    turn: int
    tokens_before: int
    token_count: int
    fingerprint: str
    has_marks: bool


class TokenIndex(Repository):
    """The token index of one owner's sessions."""

    async def last(self, session_id: str) -> IndexEnd | None:
        """The end of the index."""
        return _end(await self.ask(self._last, session=session_id))

    async def last_before(self, session_id: str, position: int) -> IndexEnd | None:
        """The end of what is indexed before a position."""
        return _end(await self.ask(self._last_before, session=session_id, position=position))

    @prepared
    def _last(self) -> Select[Any]:
        return self._newest_first()

    @prepared
    def _last_before(self) -> Select[Any]:
        return self._newest_first().where(MessageTokensRow.position < bindparam("position"))

    def _newest_first(self) -> Select[Any]:
        index, session_id = MessageTokensRow, bindparam("session", type_=String())
        marks = self.select_columns(MessageMarkRow, MessageMarkRow.id).where(
            MessageMarkRow.session_id == session_id, MessageMarkRow.ended_at.is_(None)
        )
        end = (index.position, index.turn, index.tokens_before, index.token_count, index.fingerprint)
        query = self.select_columns(index, *end, marks.exists()).where(index.session_id == session_id)
        return query.order_by(index.position.desc()).limit(1)

    async def extend(
        self, messages: Sequence[MessageRow], token_ids: Sequence[Sequence[int]], fingerprint: str
    ) -> None:
        """Index messages of the active path that follow each other.

        Passed over are those that are indexed already, by whoever else brought the index up, and those with
        one before them that is not indexed: `bring_up` is left to take them in.
        """
        await self.hold_chats([messages[0].session_id])
        last = await self.last(messages[0].session_id)
        indexed_to = last.position if last else -1
        tokens_before = last.tokens_before + last.token_count if last else 0
        last_turn = last.turn if last else -1
        rows: list[dict[str, Any]] = []
        excluded_turns: set[int] = set()
        if last is None or last.has_marks:
            excluded_turns = await Marks(self.session, self.owner).excluded_turns(messages[0].session_id)
        for message, ids in zip(messages, token_ids, strict=True):
            if message.position <= indexed_to:
                continue
            if message.position > indexed_to + 1:
                break
            indexed_to = message.position
            is_excluded = message.turn in excluded_turns or message.is_note
            token_count = 0 if is_excluded else len(ids)
            rows.append(
                {
                    "session_id": message.session_id,
                    "position": message.position,
                    "message_id": message.id,
                    "turn": message.turn,
                    "opens_turn": message.turn != last_turn,
                    "token_ids": pack_ids(ids),
                    "token_count": token_count,
                    "is_excluded": is_excluded,
                    "tokens_before": tokens_before,
                    "fingerprint": fingerprint,
                }
            )
            tokens_before += token_count
            last_turn = message.turn
        await self.insert(MessageTokensRow, rows)

    async def extend_by_read(
        self, messages: Sequence[MessageRow], token_ids: Sequence[Sequence[int]], fingerprint: str
    ) -> None:
        """As `extend`, for messages that were read before this unit of work: but for those from the first on
        that has left the active path meanwhile, or was deleted.
        """
        await self.hold_chats([messages[0].session_id])
        if active := await self._still_active(messages):
            await self.extend(active, token_ids[: len(active)], fingerprint)

    async def is_whole(self, session_id: str, fingerprint: str) -> bool:
        """Whether all messages are indexed under that fingerprint, but for a reply still being generated.

        The index has no gaps: it is whole where it has the newest message.
        """
        newest = (
            self.select_columns(MessageRow, MessageTokensRow.fingerprint)
            .outerjoin(MessageTokensRow, MessageTokensRow.message_id == MessageRow.id)
            .where(MessageRow.session_id == session_id, ON_ACTIVE_PATH, MessageRow.status != "generating")
            .order_by(MessageRow.position.desc())
        )
        row = (await self.session.execute(newest.limit(1))).one_or_none()
        return row is None or row.fingerprint == fingerprint

    async def opening_at(self, session_id: str, position: int) -> MessageTokensRow | None:
        """The first message of the turn that the message at `position` is in; None if nothing is indexed."""
        query = self.select(MessageTokensRow).where(
            MessageTokensRow.session_id == session_id,
            MessageTokensRow.position <= position,
            MessageTokensRow.opens_turn,
        )
        newest = query.order_by(MessageTokensRow.position.desc()).limit(1)
        return (await self.session.scalars(newest)).one_or_none()

    async def cut(self, session_id: str, position: int) -> None:
        """Drop what is indexed from that position on."""
        await self.hold_chats([session_id])
        await self.session.execute(
            self.delete(MessageTokensRow).where(
                MessageTokensRow.session_id == session_id, MessageTokensRow.position >= position
            )
        )

    async def keep_sampled(self, message: MessageRow, token_ids: Sequence[int], fingerprint: str) -> None:
        """Keep the ids that a reply was generated as, for whenever it is indexed."""
        row = {"message_id": message.id, "token_ids": pack_ids(token_ids), "fingerprint": fingerprint}
        await self.insert(SampledTokensRow, [row])

    async def missing(
        self, session_id: str, fingerprint: str, *, limit: int
    ) -> Sequence[tuple[MessageRow, bytes | None]]:
        """The oldest messages that are not indexed yet, with the ids they were sampled as, if they were.

        A reply still being generated comes later.
        """
        last = await self.last(session_id)
        query = (
            self.select(MessageRow)
            .add_columns(SampledTokensRow.token_ids)
            .outerjoin(
                SampledTokensRow,
                and_(
                    SampledTokensRow.message_id == MessageRow.id, SampledTokensRow.fingerprint == fingerprint
                ),
            )
            .where(
                MessageRow.session_id == session_id,
                ON_ACTIVE_PATH,
                MessageRow.position > (last.position if last else -1),
                MessageRow.status != "generating",
            )
        )
        rows = await self.session.execute(query.order_by(MessageRow.position).limit(limit))
        return [(message, sampled) for message, sampled in rows.all()]

    async def _still_active(self, messages: Sequence[MessageRow]) -> list[MessageRow]:
        """The first of them that lie on the active path now, and were not deleted since they were read."""
        query = self.select_columns(MessageRow, MessageRow.id, MessageRow.status).where(
            MessageRow.session_id == messages[0].session_id,
            MessageRow.position.between(messages[0].position, messages[-1].position),
            ON_ACTIVE_PATH,
        )
        was_deleted = {row.id for row in messages if row.status == DELETED}
        rows = (await self.session.execute(query)).all()
        active = {row.id for row in rows if (row.status == DELETED) == (row.id in was_deleted)}
        return list(takewhile(lambda row: row.id in active, messages))


async def bring_up(
    database: Database, owner: str, session_id: str, encoder: ChatEncoder, fingerprint: str
) -> None:
    """Index what is not indexed yet; start anew if the index is of another tokeniser or template."""
    async with database.read() as session:
        if await TokenIndex(session, owner).is_whole(session_id, fingerprint):
            return
        last = await TokenIndex(session, owner).last(session_id)
    if last is not None and last.fingerprint != fingerprint:
        async with database.write() as session:
            await TokenIndex(session, owner).cut(session_id, 0)
    while True:
        async with database.read() as session:
            missing = await TokenIndex(session, owner).missing(session_id, fingerprint, limit=BATCH)
        if not missing:
            return
        token_ids = await asyncio.to_thread(_token_ids, missing, encoder)
        async with database.write() as session:
            index = TokenIndex(session, owner)
            await index.extend_by_read([row for row, _ in missing], token_ids, fingerprint)


def _end(found: Found) -> IndexEnd | None:
    row = found.one_or_none()
    return IndexEnd(*row) if row else None


def _token_ids(
    messages: Sequence[tuple[MessageRow, bytes | None]], encoder: ChatEncoder
) -> list[Sequence[int]]:
    def ids_of(row: MessageRow, sampled: bytes | None) -> Sequence[int]:
        if row.status == DELETED:
            return ()
        if sampled is not None:
            return unpack_ids(sampled)
        return encoder.encode_message(cast(Role, row.role), row.content)

    return [ids_of(row, sampled) for row, sampled in messages]


def pack_ids(token_ids: Sequence[int]) -> bytes:
    return array("I", token_ids).tobytes()


def unpack_ids(packed: bytes) -> tuple[int, ...]:
    return tuple(array("I", packed))
