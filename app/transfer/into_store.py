"""The new rows of an archive go into the store, and its documents on their shelves."""

from app.storage.document_passages import DocumentPassages
from app.storage.documents import Documents
from app.storage.fact_blocks import FactBlocks
from app.storage.recall_tables import DocumentRow
from app.storage.repository import Repository
from app.storage.tables import SessionRow
from app.transfer.archive import Archive
from app.transfer.new_rows import NewRows


class Intake(Repository):
    """Stores what was read for one owner, in one unit of work."""

    async def documents_there(self, archive: Archive) -> dict[str, str]:
        """Which documents of an archive are there already: the ids of those, by the ids in the archive.

        One that could not be read makes room for the one of the archive.
        """
        documents = Documents(self.session, self.owner)
        await documents.hold_places(
            [(each.document.user_id, each.document.sha256) for each in archive.documents]
        )
        there: dict[str, str] = {}
        for document in (each.document for each in archive.documents):
            if same := await documents.same(document.user_id, document.sha256):
                if same.status == "failed":
                    await documents.remove(same.id)
                else:
                    there[document.id] = same.id
        return there

    async def store(self, new: NewRows) -> list[str]:
        """Store the rows, and put the documents on their shelves; gives the ids of these shelves."""
        for table, rows in new.rows.items():
            await self.insert(table, rows)
        # One session of each user: what is known of them came in with all of them. In one order, as below.
        chats = sorted((row["user_id"] or "", row["id"]) for row in new.rows[SessionRow])
        for session_id in dict(chats).values():
            await FactBlocks(self.session, self.owner).cut(session_id)
        documents = self.select(DocumentRow)
        passages = DocumentPassages(self.session, self.owner)
        shelves = [
            await passages.shelve(
                (await self.session.scalars(documents.where(DocumentRow.id == row["id"]))).one()
            )
            # Users in one order: two imports may take hold of the same shelves.
            for row in sorted(new.rows[DocumentRow], key=lambda row: row["user_id"] or "")
        ]
        return list(dict.fromkeys(shelves))
