"""The table of idempotency keys: what was made by requests that may come again."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.tables import Owned, Table


class IdempotencyKeyRow(Owned, Table):
    """A key that a request came with, and references to what the request made; nothing that was said.

    `digest` is of owner, user and key, `fingerprint` of the request, under the key. `made`: by `kind`, ids.
    It goes with the session or the document that it made or that it belongs to.
    """

    __tablename__ = "idempotency_keys"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    made: Mapped[dict[str, Any]]
    session_id: Mapped[str | None] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), index=True)
    document_id: Mapped[str | None] = mapped_column(
        ForeignKey("documents.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[datetime] = mapped_column(index=True)
