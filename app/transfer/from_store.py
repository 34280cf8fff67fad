"""Stored chats, personas and documents as records of a transfer, read in batches.

Forgotten messages are in none. A reply that is being generated is `interrupted`: as much as is stored of it.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from itertools import groupby
from typing import Any, cast

from sqlalchemy import select

from app.schemas.lore import LoreEntryFields
from app.storage.documents import Documents
from app.storage.fact_tables import FactRow, FactWatermarkRow, RefusedFactRow
from app.storage.messages import DELETED
from app.storage.recall_tables import DocumentPieceRow, DocumentRow
from app.storage.repository import Repository
from app.storage.tables import (
    ContextRecordRow,
    LoreEntryRow,
    MessageMarkRow,
    MessageRow,
    PersonaCardRow,
    PersonaRevisionRow,
    PersonaRow,
    SampledTokensRow,
    SessionPersonaRow,
    SessionRow,
    SummaryRow,
)
from app.storage.token_index import unpack_ids
from app.transfer.records import (
    BranchRecord,
    DocumentPieceRecord,
    DocumentRecord,
    FactRecord,
    GivenPersonaRecord,
    LoreRecord,
    MarkRecord,
    MessageRecord,
    PersonaRecord,
    PlaceRecord,
    RefusedFactRecord,
    RevisionRecord,
    SessionRecord,
    SummaryRecord,
    TokensRecord,
)
from memory.persona import Persona

BATCH = 500


class StoredRecords(Repository):
    """What of one owner can be exported, within one read of the database."""

    async def session_ids(self, *, user_id: str | None = None) -> list[str]:
        """The sessions of a user, or all, oldest first."""
        query = self.select_columns(SessionRow, SessionRow.id)
        if user_id is not None:
            query = query.where(SessionRow.user_id == user_id)
        return list((await self.session.scalars(query.order_by(SessionRow.created_at, SessionRow.id))).all())

    async def session_record(self, session_id: str) -> SessionRecord | None:
        query = self.select(SessionRow).where(SessionRow.id == session_id)
        row = (await self.session.scalars(query)).one_or_none()
        if row is None:
            return None
        given = self.select(SessionPersonaRow).where(SessionPersonaRow.session_id == session_id)
        personas = (await self.session.scalars(given.order_by(SessionPersonaRow.number))).all()
        read = self.select_columns(FactWatermarkRow, FactWatermarkRow.position)
        watermark = await self.session.execute(read.where(FactWatermarkRow.session_id == session_id))
        return SessionRecord.model_construct(
            **_fields(row, SessionRecord, but=("type", "personas", "branched_from", "facts_watermark")),
            personas=[
                GivenPersonaRecord.model_construct(**_fields(each, GivenPersonaRecord)) for each in personas
            ],
            branched_from=BranchRecord.model_construct(
                session_id=row.branched_from_session, message_id=row.branched_from_message
            )
            if row.branched_from_session
            else None,
            facts_watermark=watermark.scalar_one_or_none(),
        )

    async def persona_ids(self) -> list[str]:
        """All personas, oldest first."""
        query = self.select_columns(PersonaRow, PersonaRow.id)
        return list((await self.session.scalars(query.order_by(PersonaRow.created_at, PersonaRow.id))).all())

    async def personas_of(self, session_ids: Sequence[str]) -> list[str]:
        """The personas that these sessions have or had, or their records or facts name, oldest first."""
        found: set[str | None] = set()
        named = ContextRecordRow.record["persona"]["id"].as_string()
        for ids in batches(session_ids):
            for table, column in (
                (SessionRow, SessionRow.persona_id),
                (SessionPersonaRow, SessionPersonaRow.persona_id),
                (ContextRecordRow, named),
                (FactRow, FactRow.persona_id),
            ):
                session_of = SessionRow.id if table is SessionRow else cast(Any, table).session_id
                query = self.select_columns(table, column).where(session_of.in_(ids)).distinct()
                found |= set((await self.session.scalars(query)).all())
        return [persona_id for persona_id in await self.persona_ids() if persona_id in found]

    async def persona_record(self, persona_id: str) -> PersonaRecord | None:
        wanted = self.select(PersonaRow).where(PersonaRow.id == persona_id)
        row = (await self.session.scalars(wanted)).one_or_none()
        if row is None:
            return None
        query = self.select(PersonaRevisionRow).where(PersonaRevisionRow.persona_id == row.id)
        revisions = (await self.session.scalars(query.order_by(PersonaRevisionRow.revision))).all()
        card = self.select_columns(PersonaCardRow, PersonaCardRow.card).where(
            PersonaCardRow.persona_id == row.id
        )
        return PersonaRecord.model_construct(
            id=row.id,
            created_at=row.created_at,
            updated_at=row.updated_at,
            revisions=[
                RevisionRecord.model_construct(
                    **{name: getattr(each, name) for name in Persona.__dataclass_fields__},
                    revision=each.revision,
                    created_at=each.created_at,
                )
                for each in revisions
            ],
            card=(await self.session.execute(card)).scalar_one_or_none(),
        )

    async def document_records(self, *, user_id: str | None = None) -> list[DocumentRecord]:
        """The documents of a user, or all and everybody's too, oldest first."""
        query = self.select(DocumentRow)
        if user_id is not None:
            query = query.where(DocumentRow.user_id == user_id)
        order = (DocumentRow.created_at, DocumentRow.sha256, DocumentRow.user_id)
        return [
            DocumentRecord.model_construct(**_fields(row, DocumentRecord, but=("type",)))
            for row in (await self.session.scalars(query.order_by(*order))).all()
        ]

    async def piece_records(self, document_id: str) -> AsyncIterator[DocumentPieceRecord]:
        """The pieces of a document, in order."""
        documents = Documents(self.session, self.owner)
        rows: Sequence[DocumentPieceRow] = ()
        while rows := await documents.pieces(
            document_id, after=rows[-1].number if rows else None, limit=BATCH
        ):
            for row in rows:
                self.session.expunge(row)
                yield DocumentPieceRecord.model_construct(text=row.text, place=PlaceRecord(**row.place))

    async def message_records(self, session_id: str) -> AsyncIterator[MessageRecord]:
        """Each behind its parent: by position, then by the order of the parents, then by number."""
        for ids in batches(await self._outline(session_id)):
            rows = await self.by_id(MessageRow, MessageRow.id, ids)
            marks = await self.by_id(MessageMarkRow, MessageMarkRow.message_id, ids)
            sampled = await self.by_id(SampledTokensRow, SampledTokensRow.message_id, ids)
            contexts = await self.by_id(ContextRecordRow, ContextRecordRow.message_id, ids)
            for message_id in ids:
                [row] = rows[message_id]
                tokens = sampled.get(message_id)
                context = contexts.get(message_id)
                yield MessageRecord.model_construct(
                    **_fields(row, MessageRecord, but=("type", "status", "marks", "sampled", "context")),
                    status="interrupted" if row.status == "generating" else row.status,
                    marks=[
                        MarkRecord.model_construct(**_fields(mark, MarkRecord))
                        for mark in sorted(
                            marks.get(message_id, []), key=lambda mark: (mark.created_at, mark.kind)
                        )
                    ],
                    sampled=_tokens(tokens[0]) if tokens else None,
                    context=context[0].record if context else None,
                )

    async def lore_records(self, session_id: str) -> list[LoreRecord]:
        """Entries made of a message that is forgotten have its text as their own."""
        query = (
            select(LoreEntryRow, MessageRow.content, MessageRow.forgotten_at)
            .outerjoin(MessageRow, MessageRow.id == LoreEntryRow.message_id)
            .where(self.is_own(LoreEntryRow), LoreEntryRow.session_id == session_id)
            .order_by(LoreEntryRow.number)
        )
        return [
            LoreRecord.model_construct(
                id=row.id,
                message_id=None if forgotten_at else row.message_id,
                content=said if forgotten_at else row.content,
                settings=LoreEntryFields.model_construct(**row.settings),
                created_at=row.created_at,
            )
            for row, said, forgotten_at in (await self.session.execute(query)).all()
        ]

    async def summary_records(self, session_id: str) -> list[SummaryRecord]:
        query = self.select(SummaryRow).where(SummaryRow.session_id == session_id)
        order = (SummaryRow.created_at, SummaryRow.recipe, SummaryRow.through_turn, SummaryRow.id)
        return [
            SummaryRecord.model_construct(
                **_fields(row, SummaryRecord, but=("type", "tokens")), tokens=_tokens(row)
            )
            for row in (await self.session.scalars(query.order_by(*order))).all()
        ]

    async def fact_records(self, session_id: str, exported: Collection[str]) -> list[FactRecord]:
        """Also those that no longer count, or that another superseded.

        What the owner corrected here of another chat, which is not among the `exported` ones, has no source.
        """
        order = (FactRow.created_at, FactRow.quote_start, FactRow.subject, FactRow.key, FactRow.value)
        rows = await self._with_source(FactRow, session_id, *order)
        without_source = {"message_id": None, "quote_start": None, "quote_end": None}
        return [
            FactRecord.model_construct(
                **_fields(row, FactRecord, but=("type",)) | ({} if source in exported else without_source)
            )
            for row, source in rows
        ]

    async def refused_fact_records(
        self, session_id: str, exported: Collection[str]
    ) -> list[RefusedFactRecord]:
        """Those of messages of the `exported` sessions."""
        order = (RefusedFactRow.created_at, RefusedFactRow.quote_start, RefusedFactRow.value_digest)
        return [
            RefusedFactRecord.model_construct(**_fields(row, RefusedFactRecord, but=("type",)))
            for row, source in await self._with_source(RefusedFactRow, session_id, *order)
            if source in exported
        ]

    async def _with_source(self, table: Any, session_id: str, *order: Any) -> Sequence[tuple[Any, str]]:
        """Facts of a session, and the session that the message of each is in."""
        query = (
            select(table, MessageRow.session_id)
            .outerjoin(MessageRow, MessageRow.id == table.message_id)
            .where(self.is_own(table), table.session_id == session_id)
            .order_by(*order, table.id)
        )
        return [(row, source) for row, source in (await self.session.execute(query)).all()]

    async def _outline(self, session_id: str) -> list[str]:
        """The ids of the messages, in an order that rests on the tree alone and on no id."""
        columns = (MessageRow.id, MessageRow.parent_id, MessageRow.position, MessageRow.alternative)
        query = self.select_columns(MessageRow, *columns).where(
            MessageRow.session_id == session_id,
            MessageRow.forgotten_at.is_(None) | (MessageRow.status == DELETED),
        )
        rows = (await self.session.execute(query.order_by(MessageRow.position))).all()
        ids: list[str] = []
        rank: dict[str | None, int] = {None: -1}
        for _, level in groupby(rows, key=lambda row: row.position):
            for row in sorted(level, key=lambda row: (rank[row.parent_id], row.alternative)):
                rank[row.id] = len(ids)
                ids.append(row.id)
        return ids

    async def by_id(self, table: Any, column: Any, ids: Sequence[str]) -> dict[str, list[Any]]:
        """The rows that have one of these ids in a column, by id."""
        found: defaultdict[str, list[Any]] = defaultdict(list)
        for row in (await self.session.scalars(self.select(table).where(column.in_(ids)))).all():
            found[getattr(row, column.key)].append(row)
            self.session.expunge(row)
        return found


def _fields(row: Any, record: Any, *, but: Sequence[str] = ()) -> dict[str, Any]:
    return {name: getattr(row, name) for name in record.model_fields if name not in but}


def _tokens(row: SampledTokensRow | SummaryRow) -> TokensRecord:
    return TokensRecord.model_construct(
        token_ids=list(unpack_ids(row.token_ids)), fingerprint=row.fingerprint
    )


def batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many ids as are read at once."""
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
