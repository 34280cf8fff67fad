"""The passages of documents: each piece of a document that has been read stands on a shelf of documents."""

from sqlalchemy import insert

from app.storage.recall_tables import DocumentPieceRow, DocumentRow, PassageRow
from app.storage.repository import Repository
from app.storage.shelves import Shelves


class DocumentPassages(Repository):
    """The passages of one owner's documents."""

    async def shelve(self, document: DocumentRow) -> str:
        """Put all pieces of a document on the shelf of its user, or of everybody; gives the shelf's id."""
        shelves = Shelves(self.session, self.owner)
        shelf_id = await shelves.place_documents(document.user_id)
        [change] = (await shelves.next_changes([shelf_id])).values()
        query = self.select_columns(DocumentPieceRow, DocumentPieceRow.number).where(
            DocumentPieceRow.document_id == document.id
        )
        of_messages = {
            "message_id": document.id,
            "position": 0,
            "turn": 0,
            "start": 0,
            "stop": 0,
            "role": "",
            "speaker": "",
            "said_at": document.created_at,
        }
        await self.session.execute(
            insert(PassageRow),
            [
                of_messages
                | {
                    "owner": self.owner,
                    "shelf_id": shelf_id,
                    "source": document.id,
                    "number": number,
                    "key": f"{document.id}/{number}",
                    "change": change,
                    "is_gone": False,
                }
                for number in (await self.session.scalars(query)).all()
            ],
        )
        return shelf_id

    async def take_away(self, document_id: str) -> list[str]:
        """Turn the passages of a document into tombstones, of which no index may keep a trace; gives the
        shelves that held any."""
        query = self.select_columns(PassageRow, PassageRow.shelf_id).where(PassageRow.source == document_id)
        held = (await self.session.scalars(query.distinct())).all()
        changes = await Shelves(self.session, self.owner).next_changes(held, purge=True)
        for shelf_id, change in changes.items():
            await self.session.execute(
                self.update_rows(PassageRow)
                .where(PassageRow.source == document_id, PassageRow.shelf_id == shelf_id)
                .values(is_gone=True, change=change)
            )
        return sorted(changes)
