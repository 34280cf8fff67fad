"""The turns of one session as the memory layer asks for them, found through the token index."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from sqlalchemy import Result, Select, bindparam
from sqlalchemy.ext.asyncio import AsyncSession

from app.storage.fact_blocks import FactBlocks
from app.storage.facts import Facts
from app.storage.marks import MarkKind, Marks
from app.storage.repository import Repository, prepared
from app.storage.summaries import Summaries, as_summary
from app.storage.tables import MessageRow, MessageTokensRow
from app.storage.token_index import FingerprintedEncoder, IndexEnd, TokenIndex, unpack_ids
from memory.context import Segment
from memory.facts.block import FactBlock, fact_block
from memory.facts.fact import Fact
from memory.facts.standing import standing
from memory.marks import pinned_segment
from memory.messages import Message
from memory.summaries.summary import Summary

_NO_MARKS: Mapping[MarkKind, set[int]] = {"pinned": set(), "excluded": set()}


class StoredHistory(Repository):
    """`memory.protocols.History` of one session, over its token index, within one read of the database.

    With `end`, of the messages before that position only.
    """

    def __init__(
        self,
        session: AsyncSession,
        owner: str,
        session_id: str,
        last: IndexEnd | None,
        encoder: FingerprintedEncoder,
        *,
        end: int | None,
    ) -> None:
        super().__init__(session, owner)
        self.session_id = session_id
        self._encoder = encoder
        self.turn_count = last.turn + 1 if last else 0
        self.total_tokens = last.tokens_before + last.token_count if last else 0
        self._end = end
        self._openings: dict[int, tuple[int, int]] = {}
        self._marked: Mapping[MarkKind, set[int]] | None = None if last and last.has_marks else _NO_MARKS

    @classmethod
    async def open(
        cls,
        session: AsyncSession,
        owner: str,
        session_id: str,
        encoder: FingerprintedEncoder,
        *,
        end: int | None = None,
    ) -> "StoredHistory":
        index = TokenIndex(session, owner)
        last = await (index.last(session_id) if end is None else index.last_before(session_id, end))
        return cls(session, owner, session_id, last, encoder, end=end)

    async def tokens_before(self, turn: int) -> int:
        if turn >= self.turn_count:
            return self.total_tokens
        _, tokens_before = await self._opening(turn)
        return tokens_before

    async def first_turn_from(self, tokens: int) -> int:
        found = await self.ask(
            self._first_from, session=self.session_id, tokens=tokens, turn_count=self.turn_count
        )
        row = found.one_or_none()
        if row is None:
            return self.turn_count
        self._openings[row.turn] = (row.position, row.tokens_before)
        return int(row.turn)

    @prepared
    def _first_from(self) -> Select[Any]:
        index = MessageTokensRow
        return (
            self.select_columns(index, index.turn, index.position, index.tokens_before)
            .where(
                index.session_id == bindparam("session"),
                index.opens_turn,
                index.tokens_before >= bindparam("tokens"),
                index.turn < bindparam("turn_count"),
            )
            .order_by(index.tokens_before, index.turn)
            .limit(1)
        )

    async def summary(self, recipe: str, first_turn: int) -> Summary | None:
        row = await Summaries(self.session, self.owner).of_window(self.session_id, recipe, first_turn)
        return as_summary(row, self._encoder) if row else None

    async def facts(self, first_turn: int, max_tokens: int) -> FactBlock:
        kept = await FactBlocks(self.session, self.owner).get(
            self.session_id, first_turn, max_tokens, self._encoder.fingerprint
        )
        if kept is None:
            return await self.facts_anew(first_turn, max_tokens)
        found = await Facts(self.session, self.owner).get_many(kept.fact_ids)
        facts, token_ids = tuple(found[each] for each in kept.fact_ids), unpack_ids(kept.token_ids)
        if len(token_ids) <= max_tokens:
            return FactBlock(facts, token_ids, kept.left_out, await self._read_to())
        fewer = await self._fact_block(lambda: facts, max_tokens)
        return replace(fewer, left_out=fewer.left_out + kept.left_out)

    async def facts_anew(self, first_turn: int, max_tokens: int) -> FactBlock:
        """As `facts`, from all that is known, whether or not a block is kept."""
        known = await Facts(self.session, self.owner).of_window(self.session_id, first_turn)
        return await self._fact_block(lambda: standing(known).facts, max_tokens)

    async def _fact_block(self, stand: Callable[[], Sequence[Fact]], max_tokens: int) -> FactBlock:
        read_to = await self._read_to()
        # Much may be known, and a remote tokeniser may take its time.
        return await asyncio.to_thread(
            lambda: fact_block(
                stand(),
                lambda text: self._encoder.encode_message("system", text),
                max_tokens,
                read_to=read_to,
            )
        )

    async def _read_to(self) -> int:
        """The first turn that no facts are extracted from yet, `turn_count` if there is none."""
        read_to = await Facts(self.session, self.owner).read_to(self.session_id)
        return self.turn_count if read_to is None else min(read_to, self.turn_count)

    async def messages(self, first_turn: int, end_turn: int | None = None) -> Sequence[Message]:
        first, _ = await self._opening(first_turn)
        end = self._end
        if end_turn is not None and end_turn < self.turn_count:
            end, _ = await self._opening(end_turn)
        query = self._said_from if end is None else self._said_between
        return _messages(await self.ask(query, session=self.session_id, first=first, end=end))

    async def pinned(self) -> Sequence[Segment]:
        """The pinned turns, oldest first."""
        if not (await self._marked_turns())["pinned"]:
            return []
        marked = self._of_marked_turns("pinned").where(MessageTokensRow.is_excluded.is_(False))
        messages = _messages(await self.session.execute(marked))
        return [
            pinned_segment(turn, list(said)) for turn, said in groupby(messages, lambda message: message.turn)
        ]

    async def excluded(self) -> Mapping[int, int]:
        """The excluded turns, with the tokens that they would take."""
        if not (await self._marked_turns())["excluded"]:
            return {}
        messages = _messages(await self.session.execute(self._of_marked_turns("excluded")))
        return {
            turn: sum(len(message.token_ids) for message in said)
            for turn, said in groupby(messages, lambda message: message.turn)
        }

    async def _marked_turns(self) -> Mapping[MarkKind, set[int]]:
        """Mostly there are none: one question spares two."""
        if self._marked is None:
            self._marked = await Marks(self.session, self.owner).marked_turns(self.session_id)
        return self._marked

    def _of_marked_turns(self, kind: MarkKind) -> Select[Any]:
        turns = Marks(self.session, self.owner).turns_marked(self.session_id, kind)
        # Asked and ordered by the message alone: see `_opening`.
        query = self._indexed().where(MessageRow.session_id == self.session_id, MessageRow.turn.in_(turns))
        if self._end is not None:
            query = query.where(MessageTokensRow.position < self._end)
        return query.order_by(MessageRow.position)

    @prepared
    def _said_from(self) -> Select[Any]:
        return self._said()

    @prepared
    def _said_between(self) -> Select[Any]:
        return self._said().where(MessageTokensRow.position < bindparam("end"))

    def _said(self) -> Select[Any]:
        query = self._indexed().where(
            MessageTokensRow.session_id == bindparam("session"),
            MessageTokensRow.position >= bindparam("first"),
            MessageTokensRow.is_excluded.is_(False),
        )
        return query.order_by(MessageTokensRow.position)

    def _indexed(self) -> Select[Any]:
        return self.select_columns(
            MessageTokensRow,
            MessageRow.id,
            MessageRow.turn,
            MessageRow.role,
            MessageRow.content,
            MessageTokensRow.token_ids,
        ).join(MessageRow, MessageRow.id == MessageTokensRow.message_id)

    async def _opening(self, turn: int) -> tuple[int, int]:
        """Position of a turn's first message, and tokens of all before it."""
        if turn not in self._openings:
            row = (await self.ask(self._opening_of, session=self.session_id, turn=turn)).one()
            self._openings[turn] = (row.position, row.tokens_before)
        return self._openings[turn]

    @prepared
    def _opening_of(self) -> Select[Any]:
        # The session is asked of the message alone: with it given on both sides, or with an order, SQLite
        # walks the whole session instead of looking the turn up.
        return (
            self.select_columns(MessageTokensRow, MessageTokensRow.position, MessageTokensRow.tokens_before)
            .join(MessageRow, MessageRow.id == MessageTokensRow.message_id)
            .where(
                MessageRow.session_id == bindparam("session"),
                MessageRow.turn == bindparam("turn"),
                MessageTokensRow.opens_turn,
            )
        )


def _messages(found: Result[Any]) -> list[Message]:
    return [
        Message(row.id, row.turn, row.role, row.content, unpack_ids(row.token_ids)) for row in found.all()
    ]
