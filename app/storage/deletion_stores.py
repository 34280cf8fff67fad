"""The tables that hold what was said, and how it is found there: for deletions, and for what they count."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func

from app.storage.fact_tables import FactBlockRow, FactRow, RefusedFactRow
from app.storage.idempotency_tables import IdempotencyKeyRow
from app.storage.recall_tables import DocumentPieceRow, DocumentRow, PassageRow
from app.storage.repository import Repository, batches
from app.storage.response_tables import ResponseRow
from app.storage.tables import (
    ContextRecordRow,
    LoreEntryRow,
    MessageMarkRow,
    MessageRow,
    MessageTokensRow,
    SampledTokensRow,
    SessionRow,
    SummaryRow,
    Table,
)


@dataclass(frozen=True, slots=True)
class Store:
    """A table, and how to find in it what was said in a message, and what is of a session or a document.

    `counts`: whether a row that is found is one that has to go.
    """

    name: str
    table: type[Table]
    of_message: Any = None
    of_session: Any = None
    of_document: Any = None
    counts: ColumnElement[bool] | None = None


STORES = (
    Store("messages", MessageRow, MessageRow.id, MessageRow.session_id, counts=MessageRow.content != ""),
    Store("sampled_tokens", SampledTokensRow, SampledTokensRow.message_id),
    Store(
        "token_index",
        MessageTokensRow,
        MessageTokensRow.message_id,
        MessageTokensRow.session_id,
        counts=MessageTokensRow.token_ids != b"",
    ),
    Store("context_records", ContextRecordRow, ContextRecordRow.message_id, ContextRecordRow.session_id),
    Store("responses", ResponseRow, ResponseRow.message_id, ResponseRow.session_id),
    Store("lore_entries", LoreEntryRow, LoreEntryRow.message_id, LoreEntryRow.session_id),
    # The place of a message that was deleted is excluded from the windows.
    Store(
        "marks",
        MessageMarkRow,
        MessageMarkRow.message_id,
        MessageMarkRow.session_id,
        counts=(MessageMarkRow.kind != "excluded") | MessageMarkRow.ended_at.is_not(None),
    ),
    Store("summaries", SummaryRow, None, SummaryRow.session_id),
    Store("facts", FactRow, FactRow.message_id, FactRow.session_id),
    Store("refused_facts", RefusedFactRow, RefusedFactRow.message_id, RefusedFactRow.session_id),
    Store("fact_blocks", FactBlockRow, None, FactBlockRow.session_id),
    Store("documents", DocumentRow, of_document=DocumentRow.id),
    Store("document_pieces", DocumentPieceRow, of_document=DocumentPieceRow.document_id),
    Store("passages", PassageRow, PassageRow.message_id, PassageRow.source, PassageRow.source),
    Store(
        "idempotency_keys",
        IdempotencyKeyRow,
        None,
        IdempotencyKeyRow.session_id,
        IdempotencyKeyRow.document_id,
    ),
    Store("sessions", SessionRow, None, SessionRow.id),
)
"""All tables that hold what was said: here it is counted, for the receipt, and removed with its message."""
OTHERWISE = (MessageRow, PassageRow)
"""Those that are not removed with their message: it is emptied, they become tombstones for the indexes."""


class Stores(Repository):
    """What the stores hold of one owner."""

    async def count(
        self, messages: Sequence[str] = (), sessions: Sequence[str] = (), documents: Sequence[str] = ()
    ) -> dict[str, int]:
        """How many rows there are, by store, of what was said in messages, and of sessions and documents."""
        counts = dict.fromkeys((store.name for store in STORES), 0)
        for store in STORES:
            places = zip(
                (store.of_message, store.of_session, store.of_document),
                (messages, sessions, documents),
                strict=True,
            )
            for column, ids in places:
                for batch in batches(ids if column is not None else []):
                    query = self.select_columns(store.table, func.count()).where(column.in_(batch))
                    if store.counts is not None:
                        query = query.where(store.counts)
                    counts[store.name] += int((await self.session.execute(query)).scalar_one())
        return counts
