"""Idempotency keys. Whoever makes something notes it, in the same unit of work, under the key of the request
that is being carried out: a kill leaves both or neither.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.storage.idempotency_tables import IdempotencyKeyRow
from app.storage.repository import Repository

KEPT_FOR = timedelta(hours=24)

MadeKind = Literal[
    "session", "persona", "messages", "turn", "instructions", "fact", "lore_entry", "document", "import"
]


@dataclass(slots=True)
class RequestKey:
    """The key of a request that is being carried out. `is_kept`: something that it made is noted."""

    digest: str
    fingerprint: str
    is_kept: bool = False


class KeyTakenError(Exception):
    """Another process has made something under the same key meanwhile."""


carried_out: ContextVar[RequestKey | None] = ContextVar("carried_out", default=None)
"""The key of the request that this task works for, if it came with one."""


class IdempotencyKeys(Repository):
    """The idempotency keys of one owner."""

    async def keep(
        self,
        kind: MadeKind,
        *,
        session_id: str | None = None,
        document_id: str | None = None,
        **made: Any,
    ) -> None:
        """Note what the request at hand made, if it came with a key, once. Raises KeyTakenError.

        `session_id`, `document_id`: with which it goes.
        """
        key = carried_out.get()
        if key is None or key.is_kept:
            return
        await self.session.execute(
            self.delete(IdempotencyKeyRow).where(
                IdempotencyKeyRow.digest == key.digest, IdempotencyKeyRow.created_at <= _oldest()
            )
        )
        self.add(
            IdempotencyKeyRow(
                digest=key.digest,
                fingerprint=key.fingerprint,
                kind=kind,
                made=made,
                session_id=session_id,
                document_id=document_id,
                created_at=datetime.now(UTC),
            )
        )
        try:
            await self.session.flush()
        except IntegrityError as error:
            raise KeyTakenError from error
        key.is_kept = True

    async def find(self, digest: str) -> IdempotencyKeyRow | None:
        """What was made under a key in the last `KEPT_FOR`, if anything."""
        query = self.select(IdempotencyKeyRow).where(
            IdempotencyKeyRow.digest == digest, IdempotencyKeyRow.created_at > _oldest()
        )
        return (await self.session.scalars(query)).one_or_none()


async def purge_expired(session: AsyncSession) -> None:
    """Delete the keys of all owners that are kept no longer."""
    await session.execute(delete(IdempotencyKeyRow).where(IdempotencyKeyRow.created_at <= _oldest()))


def _oldest() -> datetime:
    return datetime.now(UTC) - KEPT_FOR
