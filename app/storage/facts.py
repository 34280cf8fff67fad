"""The facts of chat sessions: which count, for a window or for all, and how far they are extracted."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import aliased

from app.ids import new_id
from app.storage.fact_blocks import FactBlocks
from app.storage.fact_tables import FactRow, FactWatermarkRow, RefusedFactRow
from app.storage.repository import Repository, batches
from app.storage.tables import MessageMarkRow, MessageRow, MessageTokensRow, SessionRow
from memory.facts.fact import OWNER, PERSONA, Fact, Found, holds_one, words_of

COPIED = (
    "user_id",
    "persona_id",
    "quote_start",
    "quote_end",
    "subject",
    "key",
    "value",
    "ends",
    "text",
    "author",
    "said_at",
    "enters_at",
    "created_at",
)
"""What a copy of a fact has of the original."""


OF_FACT = tuple(getattr(FactRow, each.name) for each in fields(Fact))
"""The columns that a fact is made of."""


@dataclass(frozen=True, slots=True)
class KnownFact:
    """A fact, the session that it was told in, and the persona that this had then."""

    fact: Fact
    session_id: str
    persona_id: str | None


class Facts(Repository):
    """The facts of one owner's sessions."""

    async def of_window(self, session_id: str, first_turn: int) -> list[Fact]:
        """What may stand in a window that begins with that turn, in the order in which it was said.

        Of this chat, what turns before it told; of the user's other chats with the persona, what was known
        before that turn was said.
        """
        said = await self.known_before(session_id, first_turn)
        own = and_(
            FactRow.enters_at <= first_turn, or_(FactRow.author == OWNER, MessageRow.turn < first_turn)
        )
        others = FactRow.created_at < said if said else FactRow.id.is_not(None)
        return [known.fact for known in await self._known(session_id, own, others)]

    async def known(self, session_id: str) -> list[KnownFact]:
        """All that is known in a session by now, in the order in which it was said."""
        every = FactRow.id.is_not(None)
        return await self._known(session_id, every, every)

    async def _known(
        self, session_id: str, own: ColumnElement[bool], others: ColumnElement[bool]
    ) -> list[KnownFact]:
        scope = self.select_columns(SessionRow, SessionRow.user_id, SessionRow.persona_id)
        row = (await self.session.execute(scope.where(SessionRow.id == session_id))).one_or_none()
        if row is None:
            return []
        of_persona = or_(FactRow.subject != PERSONA, FactRow.persona_id.is_not_distinct_from(row.persona_id))
        mine = and_(FactRow.session_id == session_id, own, of_persona)
        if row.user_id is not None:
            same = and_(
                FactRow.user_id == row.user_id, FactRow.persona_id.is_not_distinct_from(row.persona_id)
            )
            mine = or_(mine, and_(FactRow.session_id != session_id, same, others))
        query = (
            self.select_columns(FactRow, *OF_FACT, FactRow.session_id, FactRow.persona_id)
            .outerjoin(MessageRow, MessageRow.id == FactRow.message_id)
            .where(mine, or_(FactRow.author == OWNER, and_(MessageRow.is_active, ~self._is_excluded())))
            .order_by(
                FactRow.said_at,
                func.coalesce(MessageRow.position, 0),
                func.coalesce(FactRow.quote_start, 0),
                FactRow.id,
            )
        )
        rows = (await self.session.execute(query)).all()
        return [KnownFact(Fact(*row[:-2]), row.session_id, row.persona_id) for row in rows]

    def _is_excluded(self) -> ColumnElement[bool]:
        """Whether the turn of the fact's message holds an excluded message."""
        marked = aliased(MessageRow)
        return exists(
            select(MessageMarkRow.id)
            .join(marked, marked.id == MessageMarkRow.message_id)
            .where(
                self.is_own(MessageMarkRow),
                MessageMarkRow.session_id == FactRow.session_id,
                MessageMarkRow.kind == "excluded",
                MessageMarkRow.ended_at.is_(None),
                marked.is_active,
                marked.turn == MessageRow.turn,
            )
        )

    async def known_before(self, session_id: str, turn: int) -> datetime | None:
        """When the turn began: of the user's other chats, windows that begin with it tell what was known
        then. None if it has not begun."""
        # Without an order: with one, SQLite walks the whole session instead of looking the turn up.
        query = self.select_columns(MessageRow, MessageRow.position, MessageRow.created_at).where(
            MessageRow.session_id == session_id, MessageRow.turn == turn, MessageRow.is_active
        )
        said = (await self.session.execute(query)).all()
        return min(said, key=lambda row: int(row.position)).created_at if said else None

    async def get_many(self, fact_ids: Sequence[str]) -> dict[str, Fact]:
        """Facts by id, also of those that no longer count: the records of contexts name them."""
        found: dict[str, Fact] = {}
        for batch in batches(fact_ids):
            query = self.select_columns(FactRow, *OF_FACT).where(FactRow.id.in_(batch))
            found |= {row.id: Fact(*row) for row in (await self.session.execute(query)).all()}
        return found

    async def add_one(
        self,
        session: SessionRow,
        found: Found,
        *,
        persona_id: str | None,
        text: str,
        author: str,
        said_at: datetime,
        enters_at: int,
        message_id: str | None,
    ) -> str:
        """Store a fact; gives its id."""
        row = FactRow(
            id=new_id("fac"),
            session_id=session.id,
            user_id=session.user_id,
            persona_id=persona_id,
            message_id=message_id,
            quote_start=found.start if message_id else None,
            quote_end=found.end if message_id else None,
            subject=found.subject,
            key=found.key,
            value=found.value,
            ends=found.ends,
            text=text,
            author=author,
            said_at=said_at,
            enters_at=enters_at,
            created_at=datetime.now(UTC),
        )
        self.add(row)
        await self.session.flush()
        blocks = FactBlocks(self.session, self.owner)
        await blocks.cut(session.id, from_turn=enters_at, since=row.created_at)
        return row.id

    async def new_of(self, message_id: str, found: Sequence[Found]) -> list[Found]:
        """Those that are neither stored of that message already, nor refused by the owner."""
        stored = (
            await self.session.scalars(self.select(FactRow).where(FactRow.message_id == message_id))
        ).all()
        refused = (
            await self.session.scalars(
                self.select(RefusedFactRow).where(RefusedFactRow.message_id == message_id)
            )
        ).all()
        have = {(row.subject, row.key, row.value, row.ends) for row in stored if row.author != OWNER}
        return [
            each
            for each in found
            if (each.subject, each.key, each.value, each.ends) not in have
            and not any(_is_refused(each, row) for row in refused)
        ]

    async def remove(self, fact_ids: Sequence[str]) -> None:
        """Delete facts for good, and refuse them where they were extracted from."""
        query = self.held(self.select(FactRow).where(FactRow.id.in_(fact_ids)).order_by(FactRow.id))
        rows = (await self.session.scalars(query)).all()
        for row in rows:
            if row.message_id is not None and row.quote_start is not None and row.quote_end is not None:
                self.add(
                    RefusedFactRow(
                        id=new_id("fac"),
                        session_id=row.session_id,
                        message_id=row.message_id,
                        quote_start=row.quote_start,
                        quote_end=row.quote_end,
                        key=row.key,
                        value_digest=_digest(row.value),
                        created_at=datetime.now(UTC),
                    )
                )
            await self.session.delete(row)
        await self.session.flush()
        for session_id in {row.session_id for row in rows}:
            await FactBlocks(self.session, self.owner).cut(session_id)

    async def copy(self, copies: Mapping[str, MessageRow], session_id: str) -> dict[str, str]:
        """Let what messages, given by id, told be told by their copies too; new ids by the originals'."""
        names: dict[str, str] = {}
        for batch in batches(list(copies)):
            told = self.select(FactRow).where(FactRow.message_id.in_(batch))
            for row in (await self.session.scalars(told)).all():
                if row.author != OWNER or row.session_id != session_id:
                    names[row.id] = new_id("fac")
                    self._add_copy(row, names[row.id], session_id, copies)
            refused = self.select(RefusedFactRow).where(RefusedFactRow.message_id.in_(batch))
            for no in (await self.session.scalars(refused)).all():
                fields = ("quote_start", "quote_end", "key", "value_digest", "created_at")
                self.add(
                    RefusedFactRow(
                        **{field: getattr(no, field) for field in fields},
                        id=new_id("fac"),
                        session_id=session_id,
                        message_id=copies[no.message_id].id,
                    )
                )
        await self.session.flush()
        await FactBlocks(self.session, self.owner).cut(session_id)
        return names

    async def copy_owners(self, session_id: str, to_session: str) -> dict[str, str]:
        """Let what the owner put down of a session without a message stand in another one too."""
        query = self.select(FactRow).where(FactRow.session_id == session_id, FactRow.message_id.is_(None))
        names: dict[str, str] = {}
        for row in (await self.session.scalars(query)).all():
            names[row.id] = new_id("fac")
            self._add_copy(row, names[row.id], to_session, {})
        await self.session.flush()
        await FactBlocks(self.session, self.owner).cut(to_session)
        return names

    def _add_copy(
        self, row: FactRow, fact_id: str, session_id: str, copies: Mapping[str, MessageRow]
    ) -> None:
        fields = {field: getattr(row, field) for field in COPIED}
        message_id = copies[row.message_id].id if row.message_id else None
        self.add(FactRow(**fields, id=fact_id, session_id=session_id, message_id=message_id))

    async def known_since(self, session_id: str, turn: int) -> datetime | None:
        """When what messages of that turn and later ones tell began to be known; None: they tell nothing."""
        query = (
            self.select_columns(FactRow, func.min(FactRow.created_at))
            .join(MessageRow, MessageRow.id == FactRow.message_id)
            .where(MessageRow.session_id == session_id, MessageRow.turn >= turn)
        )
        since: datetime | None = (await self.session.scalars(query)).one()
        return since

    async def purge_forgotten(self, session_id: str) -> None:
        """Delete what forgotten messages told, and what the owner made of it."""
        forgotten = self.select_columns(MessageRow, MessageRow.id).where(
            MessageRow.session_id == session_id, MessageRow.forgotten_at.is_not(None)
        )
        for table in (FactRow, RefusedFactRow):
            await self.session.execute(self.delete(table).where(table.message_id.in_(forgotten)))

    async def watermark(self, session_id: str) -> int:
        """Up to which position facts are extracted; -1: from nothing yet."""
        row = await self._watermark(session_id)
        return row.position if row else -1

    async def set_watermark(self, session_id: str, position: int) -> None:
        await self.hold_chats([session_id])
        row = await self._watermark(session_id)
        if row is None:
            self.add(FactWatermarkRow(session_id=session_id, position=position))
        else:
            row.position = position
        await self.session.flush()

    async def lower_watermark(self, session_id: str, position: int) -> None:
        """Have messages from that position on read again."""
        await self.hold_chats([session_id])
        row = await self._watermark(session_id)
        if row is not None and row.position >= position:
            row.position = position - 1
            await self.session.flush()

    async def unread(self, session_id: str, limit: int) -> list[MessageRow]:
        """The oldest messages that no facts are extracted from yet, of those that the token index has."""
        query = (
            self.select(MessageRow)
            .join(MessageTokensRow, MessageTokensRow.message_id == MessageRow.id)
            .where(
                MessageTokensRow.session_id == session_id,
                MessageTokensRow.position > await self.watermark(session_id),
            )
            .order_by(MessageTokensRow.position)
            .limit(limit)
        )
        return list((await self.session.scalars(query)).all())

    async def read_to(self, session_id: str) -> int | None:
        """The first turn with a message that no facts are extracted from yet; None: there is none."""
        read = self.select_columns(FactWatermarkRow, FactWatermarkRow.position).where(
            FactWatermarkRow.session_id == session_id
        )
        query = self.select_columns(MessageTokensRow, MessageTokensRow.turn).where(
            MessageTokensRow.session_id == session_id,
            MessageTokensRow.position > func.coalesce(read.scalar_subquery(), -1),
        )
        first = query.order_by(MessageTokensRow.position).limit(1)
        turn: int | None = (await self.session.scalars(first)).one_or_none()
        return turn

    async def _watermark(self, session_id: str) -> FactWatermarkRow | None:
        query = self.select(FactWatermarkRow).where(FactWatermarkRow.session_id == session_id)
        return (await self.session.scalars(query)).one_or_none()


def _is_refused(found: Found, refused: RefusedFactRow) -> bool:
    overlaps = found.start < refused.quote_end and refused.quote_start < found.end
    same_key = found.key == refused.key and holds_one(found.key)
    return overlaps and (same_key or _digest(found.value) == refused.value_digest)


def _digest(value: str) -> str:
    return hashlib.sha256(" ".join(words_of(value)).encode()).hexdigest()
