"""The documents of this service: taken in, read in the background, stored whole or not at all.

The bytes of a file lie in the home folder until it has been read, so that a service that was killed reads it
at its next start; then only the text is kept, in the database.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.documents.formats import HEAD_BYTES, detect, format_of_name
from app.documents.process import ReadDocument, Reading
from app.documents.reading import DocumentError, Limits
from app.ids import new_id
from app.settings import Settings
from app.storage.database import Database
from app.storage.document_passages import DocumentPassages
from app.storage.documents import Documents, unfinished_documents
from app.storage.idempotency import IdempotencyKeys
from app.storage.recall_tables import DocumentRow
from llm.catalog import EMBEDDING_MODEL, ensure_model
from llm.errors import ModelError

log = structlog.get_logger()

READ_TOGETHER = 2
"""Files at a time; others wait."""
ANSWER_WITHIN_S = 5.0
"""How long whoever adds a document waits for its end; a longer one goes on in the background."""
PIECE_TOKENS = 200
"""Of the 256 word pieces that the embedding model sees; the rest is for where the text is from."""
_CHUNK = 2**20


class Library:
    """The documents of all owners, on one database.

    `on_change(owner, shelf_id)` is called when something else stands on a shelf of documents.
    """

    def __init__(
        self, settings: Settings, database: Database, *, on_change: Callable[[str, str], None]
    ) -> None:
        self._settings = settings
        self._database = database
        self._on_change = on_change
        self._folder = settings.documents_folder
        self._limits = Limits(
            pages=settings.document_pages,
            cells=settings.document_cells,
            unpacked_mb=settings.document_unpacked_mb,
            seconds=settings.document_timeout_s,
            memory_mb=settings.document_memory_mb,
            piece_tokens=PIECE_TOKENS,
        )
        self._threads = ThreadPoolExecutor(READ_TOGETHER, thread_name_prefix="document")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._readings: dict[str, Reading] = {}
        self._is_closing = False

    async def start(self) -> None:
        """Go on with the documents that were being read when the service ended."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        async with self._database.read() as session:
            unfinished = await unfinished_documents(session)
        await asyncio.to_thread(self._sweep, {row.id for _, row in unfinished})
        for owner, row in unfinished:
            # The file of another may be in the home of another process, which will read it.
            if not self._database.claims.is_shared or self._path(row.id).exists():
                await self._claim(row.id)
                self._begin(owner, row)

    async def add(
        self, owner: str, user_id: str | None, name: str, file: BinaryIO
    ) -> tuple[DocumentRow, bool]:
        """Store and read a document; whether it is new, or the same bytes were there already.

        Comes back when it has been read, or after `ANSWER_WITHIN_S`. Raises UnknownFormatError, or
        DocumentError if it cannot be read and that is known by then: nothing is stored.
        """
        document_id = new_id("doc")
        path = self._path(document_id)
        try:
            size, sha256, head = await asyncio.to_thread(_take, file, path)
            media_type = detect(name, head).media_type
            await self._claim(document_id)  # before others see it
            async with self._database.write() as session:
                documents = Documents(session, owner)
                if same := await documents.same(user_id, sha256):
                    if same.status != "failed" and not await self._is_left_behind(session, same):
                        path.unlink()
                        await self._unclaim(document_id)
                        return same, False
                    await documents.remove(same.id)
                row = await documents.create(
                    document_id, user_id=user_id, name=name, media_type=media_type, size=size, sha256=sha256
                )
                await IdempotencyKeys(session, owner).keep("document", document_id=document_id)
        except BaseException:
            path.unlink(missing_ok=True)
            await self._unclaim(document_id)
            raise
        await asyncio.wait({self._begin(owner, row)}, timeout=ANSWER_WITHIN_S)
        return await self._as_read(owner, row), True

    async def remove(self, owner: str, document_id: str) -> bool:
        """Delete a document, read or not, with its pieces; whether it was there."""
        async with self._database.write() as session:
            if not await Documents(session, owner).remove(document_id):
                return False
            shelves = await DocumentPassages(session, owner).take_away(document_id)
        for shelf_id in shelves:
            self._on_change(owner, shelf_id)
        self.stop_reading([document_id])
        return True

    def stop_reading(self, document_ids: Iterable[str]) -> None:
        """Read no more of documents that have been deleted."""
        for document_id in document_ids:
            if reading := self._readings.get(document_id):
                reading.stop()

    def progress(self, row: DocumentRow) -> float:
        """How much of a document has been read, from 0 to 1."""
        if row.status == "ready":
            return 1.0
        reading = self._readings.get(row.id)
        return reading.progress if reading else 0.0

    async def close(self) -> None:
        """Stop reading; what was being read is begun again at the next start."""
        self._is_closing = True
        for reading in self._readings.values():
            reading.stop()
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        await asyncio.to_thread(self._threads.shutdown)

    async def _as_read(self, owner: str, row: DocumentRow) -> DocumentRow:
        async with self._database.read() as session:
            now = await Documents(session, owner).get(row.id)
        if now is None:
            raise DocumentError("it was deleted while it was read")
        if now.error is not None:
            await self.remove(owner, row.id)
            raise DocumentError(now.error)
        return now

    def _begin(self, owner: str, row: DocumentRow) -> asyncio.Task[None]:
        reading = Reading(self._path(row.id), format_of_name(row.name).kind, self._limits)
        self._readings[row.id] = reading
        task = asyncio.create_task(self._work(owner, row, reading), name=f"reading of {row.id}")
        self._tasks[row.id] = task
        return task

    async def _is_left_behind(self, session: AsyncSession, row: DocumentRow) -> bool:
        """Whether a document has its file in the home of another process, and that is not there."""
        if row.status != "processing" or self._path(row.id).exists():
            return False
        return not await self._database.claims.is_held(session, _claim_of(row.id))

    async def _claim(self, document_id: str) -> None:
        await self._database.claims.take(_claim_of(document_id), waits=True)

    async def _unclaim(self, document_id: str) -> None:
        await self._database.claims.release(_claim_of(document_id))

    async def _work(self, owner: str, row: DocumentRow, reading: Reading) -> None:
        try:
            await self._read(owner, row, reading)
        except Exception:
            log.exception("a document could not be stored", document=row.id)
        finally:
            await self._unclaim(row.id)
            del self._tasks[row.id], self._readings[row.id]

    async def _read(self, owner: str, row: DocumentRow, reading: Reading) -> None:
        try:
            document = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._read_blocking, reading
            )
        except (DocumentError, ModelError) as error:
            if self._is_closing:
                return
            log.info("a document was refused", document=row.id, why=str(error))
            async with self._database.write() as session:
                await Documents(session, owner).fail(row.id, str(error))
        else:
            await self._store(owner, row.id, document)
        self._path(row.id).unlink(missing_ok=True)

    async def _store(self, owner: str, document_id: str, document: ReadDocument) -> None:
        async with self._database.write() as session:
            stored = await Documents(session, owner).finish(document_id, document.pieces, document.pages)
            shelf_id = await DocumentPassages(session, owner).shelve(stored) if stored else None
        if shelf_id is not None:
            self._on_change(owner, shelf_id)

    def _read_blocking(self, reading: Reading) -> ReadDocument:
        tokenizer = ensure_model(EMBEDDING_MODEL, self._settings.models_folder) / "tokenizer.json"
        return reading.read(tokenizer)

    def _sweep(self, kept: Iterable[str]) -> None:
        """Remove the files of documents that have been read, or were never noted."""
        for path in self._folder.iterdir():
            if path.name not in kept:
                path.unlink()

    def _path(self, document_id: str) -> Path:
        return self._folder / document_id


def _claim_of(document_id: str) -> str:
    return f"document {document_id}"


def _take(file: BinaryIO, path: Path) -> tuple[int, str, bytes]:
    """Copy what was uploaded; gives its size in bytes, its SHA-256 and its beginning."""
    digest = hashlib.sha256()
    size, head = 0, b""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as copy:
        while chunk := file.read(_CHUNK):
            head = head or chunk[:HEAD_BYTES]
            digest.update(chunk)
            copy.write(chunk)
            size += len(chunk)
    return size, digest.hexdigest(), head
