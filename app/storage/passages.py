"""The passages of chats: which messages of the active path stand on which shelf, in pieces if they are long.

Derived from the messages of the active path. `missing` and `extend` continue where the last ones ended, so
they may be cut off and repeated at any point; `cut` turns passages into tombstones, for the indexes to see.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, tuple_

from app.storage.marks import Marks
from app.storage.repository import Repository
from app.storage.shelves import Scope, Shelves
from app.storage.tables import MessageRow, PassageRow, SessionRow, ShelvedSessionRow
from memory.messages import Role
from memory.recall.passage import Passage, PassageKey

SPOKEN = ("user", "assistant")
Piece = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a passage: None, if it is gone."""

    change: int
    key: PassageKey
    passage: Passage | None


class StoredPassages(Repository):
    """The passages of one owner's sessions."""

    async def missing(self, session_id: str, *, limit: int) -> Sequence[MessageRow]:
        """The oldest messages that are not on the shelves yet. A reply still being generated comes later."""
        end, _ = await self._progress(session_id)
        query = self.select(MessageRow).where(
            MessageRow.session_id == session_id, MessageRow.is_active, MessageRow.position >= end
        )
        rows = (await self.session.scalars(query.order_by(MessageRow.position).limit(limit))).all()
        until = next((i for i, row in enumerate(rows) if row.status == "generating"), len(rows))
        return rows[:until]

    async def extend(
        self,
        chat: SessionRow,
        messages: Sequence[MessageRow],
        pieces: Mapping[str, Sequence[Piece]],
        personas: Mapping[int, str | None],
        speakers: Mapping[str, str],
    ) -> None:
        """Put messages on the shelves that follow each other and begin no later than where the last ended.

        `pieces` and `speakers` by the ids of the messages, `personas` by their turns. Those that are there
        already, by whoever else did it, are passed over, and so are those that have left the active path
        meanwhile.
        """
        end, number = await self._progress(chat.id)
        active = await self._active(messages)
        excluded = await Marks(self.session, self.owner).excluded_turns(chat.id)
        rows: list[PassageRow] = []
        for message in messages:
            if message.position < end:
                continue
            if message.position > end or message.id not in active:
                break
            end = message.position + 1
            if message.role not in SPOKEN:
                continue
            spans = pieces[message.id]
            if message.turn not in excluded:
                rows += [
                    PassageRow(
                        source=chat.id,
                        number=number + index,
                        message_id=message.id,
                        position=message.position,
                        turn=message.turn,
                        start=start,
                        stop=stop,
                        role=message.role,
                        speaker=speakers[message.id],
                        said_at=message.created_at,
                        is_gone=False,
                    )
                    for index, (start, stop) in enumerate(spans)
                ]
            # An excluded message keeps its numbers: what follows it keeps its own when it is included again.
            number += len(spans)
        await self._store(chat, rows, personas)
        await self._keep_progress(chat.id, end, number)

    async def cut(self, session_id: str, position: int, *, purge: bool = False) -> None:
        """Let go of the passages from that position on; with `purge`, no index may keep a trace of them."""
        gone = (
            PassageRow.source == session_id,
            PassageRow.position >= position,
            PassageRow.is_gone.is_(False),
        )
        shelves = Shelves(self.session, self.owner)
        if purge:  # of what went before, too: an index may hold a trace of it still
            touched = await shelves.of_session(session_id)
        else:
            query = self.select_columns(PassageRow, PassageRow.shelf_id).where(*gone).distinct()
            touched = sorted((await self.session.scalars(query)).all())
        for shelf_id in touched:
            change = await shelves.next_change(shelf_id, purge=purge)
            await self.session.execute(
                self.update_rows(PassageRow)
                .where(*gone, PassageRow.shelf_id == shelf_id)
                .values(is_gone=True, change=change)
            )
        end, _ = await self._progress(session_id)
        if end > position:
            last = self.select_columns(PassageRow, func.max(PassageRow.number)).where(
                PassageRow.source == session_id, PassageRow.is_gone.is_(False)
            )
            number = (await self.session.execute(last)).scalar_one()
            await self._keep_progress(session_id, position, 0 if number is None else number + 1)

    async def changes(self, shelf_id: str, *, behind: tuple[int, str, int], limit: int) -> Sequence[Change]:
        """What has happened on a shelf behind (change, source, number), in order."""
        query = (
            select(PassageRow, MessageRow.content)
            .outerjoin(
                MessageRow, and_(MessageRow.id == PassageRow.message_id, MessageRow.forgotten_at.is_(None))
            )
            .where(
                PassageRow.owner == self.owner,
                PassageRow.shelf_id == shelf_id,
                tuple_(PassageRow.change, PassageRow.source, PassageRow.number) > behind,
            )
            .order_by(PassageRow.change, PassageRow.source, PassageRow.number)
            .limit(limit)
        )
        return [
            Change(row.change, PassageKey(row.source, row.number), _passage(row, content))
            for row, content in (await self.session.execute(query)).all()
        ]

    async def read(self, keys: Sequence[PassageKey], scope: Scope) -> Sequence[Passage]:
        """Those of these passages that are in scope."""
        found: list[Passage] = []
        of_shelves = or_(
            PassageRow.shelf_id.in_(scope.whole),
            and_(PassageRow.shelf_id.in_(scope.own), PassageRow.source == scope.session_id),
        )
        for start in range(0, len(keys), 200):
            wanted = [(key.source, key.number) for key in keys[start : start + 200]]
            query = (
                select(PassageRow, MessageRow.content)
                .join(MessageRow, MessageRow.id == PassageRow.message_id)
                .where(
                    PassageRow.owner == self.owner,
                    MessageRow.owner == self.owner,
                    of_shelves,
                    PassageRow.is_gone.is_(False),
                    MessageRow.is_active,
                    tuple_(PassageRow.source, PassageRow.number).in_(wanted),
                )
            )
            for row, content in (await self.session.execute(query)).all():
                if (passage := _passage(row, content)) is not None:
                    found.append(passage)
        return found

    async def waiting_in(self, scope: Scope) -> int:
        """How many messages of the chats of a scope are not on the shelves yet."""
        return await self._waiting(scope.chats)

    async def waiting(self, user_id: str | None = None) -> int:
        """How many messages of all chats, or of those of a user, are not on the shelves yet."""
        return await self._waiting(*(() if user_id is None else (SessionRow.user_id == user_id,)))

    async def _waiting(self, *chats: ColumnElement[bool]) -> int:
        query = (
            self._unshelved(func.count())
            .join(SessionRow, SessionRow.id == MessageRow.session_id)
            .where(MessageRow.role.in_(SPOKEN), *chats)
        )
        return int((await self.session.execute(query)).scalar_one())

    async def unindexed(self, shelf_id: str, watermark: int) -> int:
        """How many messages have passages on the shelf that came after that change."""
        query = self.select_columns(PassageRow, func.count(PassageRow.message_id.distinct())).where(
            PassageRow.shelf_id == shelf_id, PassageRow.change > watermark, PassageRow.is_gone.is_(False)
        )
        return int((await self.session.execute(query)).scalar_one())

    async def lagging_sessions(self) -> list[str]:
        """The sessions with messages that are not on the shelves yet."""
        query = self._unshelved(MessageRow.session_id.distinct()).order_by(MessageRow.session_id)
        return list((await self.session.scalars(query)).all())

    def _unshelved(self, *columns: Any) -> Select[Any]:
        return (
            self.select_columns(MessageRow, *columns)
            .outerjoin(ShelvedSessionRow, ShelvedSessionRow.session_id == MessageRow.session_id)
            .where(
                MessageRow.is_active,
                MessageRow.status != "generating",
                MessageRow.position >= func.coalesce(ShelvedSessionRow.end, 0),
            )
        )

    async def _store(
        self, chat: SessionRow, rows: Sequence[PassageRow], personas: Mapping[int, str | None]
    ) -> None:
        shelves = Shelves(self.session, self.owner)
        places = {
            persona_id: await shelves.place(chat, persona_id)
            for persona_id in dict.fromkeys(personas[row.turn] for row in rows)
        }
        changes = {shelf_id: await shelves.next_change(shelf_id) for shelf_id in sorted(set(places.values()))}
        for row in rows:
            row.shelf_id = places[personas[row.turn]]
            row.change = changes[row.shelf_id]
        if rows:
            # Their numbers may have been those of others, whose tombstones stand.
            numbers = PassageRow.number.between(rows[0].number, rows[-1].number)
            await self.session.execute(
                self.delete(PassageRow).where(
                    PassageRow.source == chat.id, PassageRow.shelf_id.in_(changes), numbers
                )
            )
        for row in rows:
            self.add(row)
        await self.session.flush()

    async def _progress(self, session_id: str) -> tuple[int, int]:
        """The position behind the last message that was put on a shelf, and the next passage's number."""
        row = await self._progress_row(session_id)
        return (row.end, row.next_number) if row else (0, 0)

    async def _progress_row(self, session_id: str) -> ShelvedSessionRow | None:
        query = self.select(ShelvedSessionRow).where(ShelvedSessionRow.session_id == session_id)
        return (await self.session.scalars(query)).one_or_none()

    async def _keep_progress(self, session_id: str, end: int, next_number: int) -> None:
        row = await self._progress_row(session_id)
        if row is None:
            self.add(ShelvedSessionRow(session_id=session_id, end=end, next_number=next_number))
        else:
            row.end, row.next_number = end, next_number
        await self.session.flush()

    async def _active(self, messages: Sequence[MessageRow]) -> set[str]:
        """The ids of those that lie on the active path now."""
        query = self.select_columns(MessageRow, MessageRow.id).where(
            MessageRow.session_id == messages[0].session_id,
            MessageRow.position.between(messages[0].position, messages[-1].position),
            MessageRow.is_active,
        )
        return set((await self.session.scalars(query)).all())


def _passage(row: PassageRow, content: str | None) -> Passage | None:
    """What stands there; None of what is gone."""
    if row.is_gone or content is None:
        return None
    return Passage(
        key=PassageKey(row.source, row.number),
        text=content[row.start : row.stop],
        speaker=row.speaker,
        role=cast(Role, row.role),
        said_at=row.said_at,
        turn=row.turn,
        message_id=row.message_id,
    )
