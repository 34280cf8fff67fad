"""The table of deletions: receipts of what its owner had deleted."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.tables import Owned, Table


class DeletionRow(Owned, Table):
    """What was deleted, how far that is, and the ids by which it is checked; nothing that was said.

    `target`: of a user a digest, since names of users go too. `user_digest`: the same, of the user whose key
    asked for it, if one did. `removed`: how many, by store. `scope`: as
    `app.storage.deletions.Scope` has it.
    """

    __tablename__ = "deletions"
    __table_args__ = (
        Index("ix_deletions_target", "owner", "kind", "target"),
        Index(
            "ix_deletions_pending",
            "status",
            sqlite_where=text("status = 'pending'"),
            postgresql_where=text("status = 'pending'"),
        ),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    target: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16))
    removed: Mapped[dict[str, Any]]
    scope: Mapped[dict[str, Any]]
    requested_at: Mapped[datetime]
    done_at: Mapped[datetime | None]
    user_digest: Mapped[str | None] = mapped_column(String(64))
