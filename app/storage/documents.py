"""Documents and their pieces."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.storage.personas import behind
from app.storage.recall_tables import DocumentPieceRow, DocumentRow
from app.storage.repository import Repository
from memory.recall.chunks import Piece, Place, Span
from memory.recall.passage import PassageKey


class Documents(Repository):
    """The documents of one owner."""

    async def create(
        self, document_id: str, *, user_id: str | None, name: str, media_type: str, size: int, sha256: str
    ) -> DocumentRow:
        """Note a document that is about to be read."""
        row = DocumentRow(
            id=document_id,
            user_id=user_id,
            name=name,
            media_type=media_type,
            bytes=size,
            sha256=sha256,
            status="processing",
            created_at=datetime.now(UTC),
        )
        self.add(row)
        await self.session.flush()
        return row

    async def get(self, document_id: str) -> DocumentRow | None:
        query = self.select(DocumentRow).where(DocumentRow.id == document_id)
        return (await self.session.scalars(query)).one_or_none()

    async def same(self, user_id: str | None, sha256: str) -> DocumentRow | None:
        """The document with those bytes, of that user or of all; a unit that writes holds its place."""
        await self.hold_places([(user_id, sha256)])
        query = self.select(DocumentRow).where(
            DocumentRow.sha256 == sha256, DocumentRow.user_id.is_not_distinct_from(user_id)
        )
        return (await self.session.scalars(query)).one_or_none()

    async def list(
        self, *, after: tuple[datetime, str] | None, limit: int, user_id: str | None
    ) -> list[DocumentRow]:
        """Newest first, from behind `after` on; of one user, if asked to."""
        query = self.select(DocumentRow).order_by(DocumentRow.created_at.desc(), DocumentRow.id.desc())
        if after:
            query = query.where(behind(DocumentRow, after))
        if user_id is not None:
            query = query.where(DocumentRow.user_id == user_id)
        return list((await self.session.scalars(query.limit(limit))).all())

    async def finish(
        self, document_id: str, pieces: Sequence[Piece], pages: int | None
    ) -> DocumentRow | None:
        """Store all pieces of a document that was being read; None if it is no longer there."""
        row = await self._hold(document_id)
        if row is None or row.status != "processing":
            return None
        await self.session.execute(
            insert(DocumentPieceRow),
            [
                {
                    "owner": self.owner,
                    "document_id": document_id,
                    "number": number,
                    "text": piece.text,
                    "place": asdict(piece.place),
                }
                for number, piece in enumerate(pieces)
            ],
        )
        row.status, row.pages, row.pieces = "ready", pages, len(pieces)
        await self.session.flush()
        return row

    async def fail(self, document_id: str, error: str) -> None:
        """Note why a document that was being read cannot be."""
        row = await self._hold(document_id)
        if row is not None and row.status == "processing":
            row.status, row.error = "failed", error
            await self.session.flush()

    async def hold_places(self, places: Sequence[tuple[str | None, str]]) -> None:
        """Hold the places, by user and digest, of documents that may not be there yet."""
        await self.hold_names({f"document {user_id} {sha256}" for user_id, sha256 in places})

    async def _hold(self, document_id: str) -> DocumentRow | None:
        query = self.held(self.select(DocumentRow).where(DocumentRow.id == document_id))
        return (await self.session.scalars(query)).one_or_none()

    async def ids_of(self, user_id: str) -> Sequence[str]:
        """Of all documents of a user."""
        query = self.select_columns(DocumentRow, DocumentRow.id).where(DocumentRow.user_id == user_id)
        return (await self.session.scalars(query)).all()

    async def remove(self, document_id: str) -> bool:
        """Delete a document with its pieces; whether it was there."""
        done = await self.session.execute(
            self.delete(DocumentRow).where(DocumentRow.id == document_id).returning(DocumentRow.id)
        )
        return done.one_or_none() is not None

    async def pieces(
        self, document_id: str, *, after: int | None, limit: int
    ) -> "Sequence[DocumentPieceRow]":
        """The pieces of a document in order, from behind number `after` on."""
        query = self.select(DocumentPieceRow).where(DocumentPieceRow.document_id == document_id)
        if after is not None:
            query = query.where(DocumentPieceRow.number > after)
        return (await self.session.scalars(query.order_by(DocumentPieceRow.number).limit(limit))).all()

    async def texts(self, keys: "Sequence[PassageKey]") -> dict[PassageKey, str]:
        """The texts of those of these pieces that are there."""
        wanted = [(key.source, key.number) for key in keys]
        query = self.select(DocumentPieceRow).where(
            tuple_(DocumentPieceRow.document_id, DocumentPieceRow.number).in_(wanted)
        )
        rows = (await self.session.scalars(query)).all() if wanted else ()
        return {PassageKey(row.document_id, row.number): row.text for row in rows}

    async def names(self, document_ids: "Sequence[str]") -> dict[str, str]:
        """The names of those of these documents that are there, by id."""
        query = self.select_columns(DocumentRow, DocumentRow.id, DocumentRow.name).where(
            DocumentRow.id.in_(document_ids)
        )
        return {row.id: row.name for row in (await self.session.execute(query)).all()}


def citation(name: str, place: dict[str, Any]) -> str:
    """Where a piece is from, which has that `place` in the document of that name: `guide.pdf, page 3`."""
    span = place["span"]
    within = Place(tuple(place["headings"]), Span(**span) if span else None)
    return ", ".join(filter(None, (name, str(within))))


async def unfinished_documents(session: AsyncSession) -> Sequence[tuple[str, DocumentRow]]:
    """Those of all owners, with the owner, that were being read when the service ended."""
    query = select(DocumentRow).where(DocumentRow.status == "processing")
    return [(row.owner, row) for row in (await session.scalars(query)).all()]
