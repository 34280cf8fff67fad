"""The passages of chats: which messages of the active path stand on which shelf, in pieces if they are long.

Derived from the messages of the active path. `missing` and `extend` continue where the last ones ended, so
they may be cut off and repeated at any point; `cut` turns passages into tombstones, for the indexes to see.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Integer, Select, String, and_, bindparam, func, or_, select, tuple_

from app.storage.documents import citation
from app.storage.marks import Marks
from app.storage.recall_tables import DocumentPieceRow, DocumentRow, PassageRow, ShelvedSessionRow
from app.storage.repository import Repository, batches, prepared
from app.storage.shelves import Scope, Shelves, is_of_personas, of_personas
from app.storage.tables import ON_ACTIVE_PATH, MessageRow, SessionRow
from memory.recall.passage import Passage, PassageKey

SPOKEN = ("user", "assistant")
Piece = tuple[int, int]
IS_PIECE = and_(
    DocumentPieceRow.document_id == PassageRow.source, DocumentPieceRow.number == PassageRow.number
)
_TOLD: tuple[Any, ...] = (
    MessageRow.content,
    PassageRow.start,
    PassageRow.stop,
    PassageRow.speaker,
    PassageRow.role,
    PassageRow.said_at,
    PassageRow.turn,
    PassageRow.message_id,
    DocumentPieceRow.text,
    DocumentPieceRow.place,
    DocumentRow.name,
)
"""What a passage is made from, of a message or of a document."""


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
        end, _ = _reached(await self._progress(session_id))
        found = await self.ask(self._said_from, session=session_id, end=end, limit=limit)
        rows = found.scalars().all()
        until = next((i for i, row in enumerate(rows) if row.status == "generating"), len(rows))
        return rows[:until]

    @prepared
    def _said_from(self) -> Select[Any]:
        query = self.select(MessageRow).where(
            MessageRow.session_id == bindparam("session"),
            ON_ACTIVE_PATH,
            MessageRow.position >= bindparam("end"),
        )
        return query.order_by(MessageRow.position).limit(bindparam("limit", type_=Integer()))

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
        await self.hold_chats([chat.id])
        progress = await self._progress(chat.id)
        end, number = _reached(progress)
        active = await self._active(messages)
        excluded = await Marks(self.session, self.owner).excluded_turns(chat.id)
        rows: list[dict[str, Any]] = []
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
                    {
                        "source": chat.id,
                        "number": number + index,
                        "key": f"{chat.id}/{number + index}",
                        "message_id": message.id,
                        "position": message.position,
                        "turn": message.turn,
                        "start": start,
                        "stop": stop,
                        "role": message.role,
                        "speaker": speakers[message.id],
                        "said_at": message.created_at,
                        "is_gone": False,
                    }
                    for index, (start, stop) in enumerate(spans)
                ]
            # An excluded message keeps its numbers: what follows it keeps its own when it is included again.
            number += len(spans)
        await self._store(chat, rows, personas)
        await self._keep_progress(progress, chat.id, end, number)

    async def cut(self, session_id: str, position: int, *, purge: bool = False) -> None:
        """Let go of the passages from that position on; with `purge`, no index may keep a trace of them."""
        await self.hold_chats([session_id])
        gone = (
            PassageRow.source == session_id,
            PassageRow.position >= position,
            PassageRow.is_gone.is_(False),
        )
        shelves = Shelves(self.session, self.owner)
        if purge:  # of what went before, too: an index may hold a trace of it still
            touched: Sequence[str] = await shelves.of_session(session_id)
        else:
            query = self.select_columns(PassageRow, PassageRow.shelf_id).where(*gone).distinct()
            touched = (await self.session.scalars(query)).all()
        for shelf_id, change in (await shelves.next_changes(touched, purge=purge)).items():
            await self.session.execute(
                self.update_rows(PassageRow)
                .where(*gone, PassageRow.shelf_id == shelf_id)
                .values(is_gone=True, change=change)
            )
        progress = await self._progress(session_id)
        if _reached(progress)[0] > position:
            # Numbers rise with positions, by which there is an index: a maximum would walk the session.
            last = (
                self.select_columns(PassageRow, PassageRow.number)
                .where(PassageRow.source == session_id, PassageRow.is_gone.is_(False))
                .order_by(PassageRow.position.desc(), PassageRow.number.desc())
                .limit(1)
            )
            number = (await self.session.execute(last)).scalar_one_or_none()
            await self._keep_progress(progress, session_id, position, 0 if number is None else number + 1)

    async def changes(self, shelf_id: str, *, behind: tuple[int, str, int], limit: int) -> Sequence[Change]:
        """What has happened on a shelf behind (change, source, number), in order."""
        change, source, number = behind
        rows = await self.ask(
            self._changes, shelf=shelf_id, change=change, source=source, number=number, limit=limit
        )
        found = []
        for change, source, number, is_gone, *told in rows.all():
            key = PassageKey(source, number)
            found.append(Change(change, key, None if is_gone else _passage(key, told)))
        return found

    @prepared
    def _changes(self) -> Select[Any]:
        place = (PassageRow.change, PassageRow.source, PassageRow.number)
        behind = tuple_(*(bindparam(column.key, type_=column.type) for column in place))
        return (
            select(*place, PassageRow.is_gone, *_TOLD)
            .select_from(PassageRow)
            .outerjoin(
                MessageRow, and_(MessageRow.id == PassageRow.message_id, MessageRow.forgotten_at.is_(None))
            )
            .outerjoin(DocumentPieceRow, IS_PIECE)
            .outerjoin(DocumentRow, DocumentRow.id == DocumentPieceRow.document_id)
            .where(
                self.is_own(PassageRow),
                PassageRow.shelf_id == bindparam("shelf"),
                tuple_(*place) > behind,
            )
            .order_by(*place)
            .limit(bindparam("limit", type_=Integer()))
        )

    async def read(self, keys: Sequence[PassageKey], scope: Scope) -> Sequence[Passage]:
        """Those of these passages that are in scope."""
        found: list[Passage] = []
        by_name = {key.name: key for key in keys}
        for batch in batches(list(by_name)):
            # What is in scope is looked at here: with that in the query, SQLite reads whole shelves.
            for name, shelf_id, *told in (await self.ask(self._named, names=batch)).all():
                key = by_name[name]
                if scope.holds(shelf_id, key.source) and (passage := _passage(key, told)) is not None:
                    found.append(passage)
        return found

    @prepared
    def _named(self) -> Select[Any]:
        return (
            select(PassageRow.key, PassageRow.shelf_id, *_TOLD)
            .select_from(PassageRow)
            .outerjoin(MessageRow, and_(MessageRow.id == PassageRow.message_id, MessageRow.is_active))
            .outerjoin(DocumentPieceRow, IS_PIECE)
            .outerjoin(DocumentRow, DocumentRow.id == DocumentPieceRow.document_id)
            .where(
                self.is_own(PassageRow),
                func.coalesce(MessageRow.owner, DocumentPieceRow.owner) == self.whose.owner,
                PassageRow.is_gone.is_(False),
                PassageRow.key.in_(bindparam("names", expanding=True)),
            )
        )

    async def waiting_in(self, scope: Scope) -> int:
        """How many messages of the chats of a scope are not on the shelves yet."""
        if scope.user_id is None and scope.session_id is None:
            return 0
        personas = of_personas(scope.persona_id)
        found = await self.ask(
            self._waiting_in, user=scope.user_id or "", session=scope.session_id or "", **personas
        )
        return int(found.scalar_one())

    @prepared
    def _waiting_in(self) -> Select[Any]:
        of_user = and_(SessionRow.user_id == bindparam("user"), is_of_personas(SessionRow.persona_id))
        is_that = SessionRow.id == bindparam("session", type_=String())
        return self._spoken_unshelved().where(or_(of_user, is_that))

    async def waiting(self, user_id: str | None = None) -> int:
        """How many messages of all chats, or of those of a user, are not on the shelves yet."""
        query = self._spoken_unshelved()
        if user_id is not None:
            query = query.where(SessionRow.user_id == user_id)
        return int((await self.session.execute(query)).scalar_one())

    def _spoken_unshelved(self) -> Select[Any]:
        return self._unshelved(func.count()).where(MessageRow.role.in_(SPOKEN))

    async def unindexed(self, shelf_id: str, watermark: int) -> int:
        """How many messages have passages on the shelf that came after that change."""
        query = self.select_columns(PassageRow, func.count(PassageRow.message_id.distinct())).where(
            PassageRow.shelf_id == shelf_id, PassageRow.change > watermark, PassageRow.is_gone.is_(False)
        )
        return int((await self.session.execute(query)).scalar_one())

    async def lagging_sessions(self) -> list[str]:
        """The sessions with messages that are not on the shelves yet."""
        query = self._unshelved(MessageRow.session_id).distinct().order_by(MessageRow.session_id)
        return list((await self.session.scalars(query)).all())

    def _unshelved(self, *columns: Any) -> Select[Any]:
        """Asks of the messages that are not on the shelves yet, of each session those behind its last."""
        return (
            self.select_columns(SessionRow, *columns)
            .outerjoin(ShelvedSessionRow, ShelvedSessionRow.session_id == SessionRow.id)
            .join(
                MessageRow,
                and_(
                    MessageRow.session_id == SessionRow.id,
                    ON_ACTIVE_PATH,
                    MessageRow.position >= func.coalesce(ShelvedSessionRow.end, 0),
                ),
            )
            .where(self.is_own(MessageRow), MessageRow.status != "generating")
        )

    async def _store(
        self, chat: SessionRow, rows: Sequence[dict[str, Any]], personas: Mapping[int, str | None]
    ) -> None:
        if not rows:
            return
        shelves = Shelves(self.session, self.owner)
        places = await shelves.place(chat, dict.fromkeys(personas[row["turn"]] for row in rows))
        changes = await shelves.next_changes(set(places.values()))
        # Their numbers may have been those of others, whose tombstones stand.
        numbers = PassageRow.number.between(rows[0]["number"], rows[-1]["number"])
        await self.session.execute(
            self.delete(PassageRow).where(
                PassageRow.source == chat.id, PassageRow.shelf_id.in_(changes), numbers
            )
        )
        placed = []
        for row in rows:
            shelf_id = places[personas[row["turn"]]]
            placed.append(row | {"shelf_id": shelf_id, "change": changes[shelf_id]})
        await self.insert(PassageRow, placed)

    async def _progress(self, session_id: str) -> ShelvedSessionRow | None:
        return (await self.ask(self._shelved_to, session=session_id)).scalars().one_or_none()

    @prepared
    def _shelved_to(self) -> Select[Any]:
        return self.select(ShelvedSessionRow).where(ShelvedSessionRow.session_id == bindparam("session"))

    async def _keep_progress(
        self, progress: ShelvedSessionRow | None, session_id: str, end: int, next_number: int
    ) -> None:
        if progress is None:
            self.add(ShelvedSessionRow(session_id=session_id, end=end, next_number=next_number))
        else:
            progress.end, progress.next_number = end, next_number
        await self.session.flush()

    async def _active(self, messages: Sequence[MessageRow]) -> set[str]:
        """The ids of those that lie on the active path now."""
        query = self.select_columns(MessageRow, MessageRow.id).where(
            MessageRow.session_id == messages[0].session_id,
            MessageRow.position.between(messages[0].position, messages[-1].position),
            ON_ACTIVE_PATH,
        )
        return set((await self.session.scalars(query)).all())


def _reached(progress: ShelvedSessionRow | None) -> tuple[int, int]:
    """The position behind the last message that was put on a shelf, and the next passage's number."""
    return (progress.end, progress.next_number) if progress else (0, 0)


def _passage(key: PassageKey, told: Sequence[Any]) -> Passage | None:
    """What stands there, of a message or of a document, out of the columns `_TOLD`; None of what is gone."""
    # In one go: by its name, each column takes most of a microsecond.
    content, start, stop, speaker, role, said_at, turn, message_id, piece, place, document = told
    if piece is not None:
        return Passage(key, piece, citation=citation(document, place))
    if content is None:
        return None
    return Passage(key, content[start:stop], speaker, role, said_at, turn, message_id)
