"""The tables of recall: documents with their pieces, and the shelves on which all passages stand."""

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, ForeignKey, Index, Integer, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.tables import Owned, Table


class DocumentRow(Owned, Table):
    """A file whose text can be recalled: of one user, or of none and so of all.

    `status`: `processing`, `ready`, or `failed` with its `error`. The same bytes are one document.
    """

    __tablename__ = "documents"
    __table_args__ = (
        Index("ix_documents_listing", "owner", "created_at", "id"),
        Index(
            "ix_documents_of_all",
            "owner",
            "sha256",
            unique=True,
            sqlite_where=text("user_id IS NULL"),
            postgresql_where=text("user_id IS NULL"),
        ),
        Index(
            "ix_documents_of_user",
            "owner",
            "user_id",
            "sha256",
            unique=True,
            sqlite_where=text("user_id IS NOT NULL"),
            postgresql_where=text("user_id IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    user_id: Mapped[str | None] = mapped_column(String(256))
    name: Mapped[str] = mapped_column(String(256))
    media_type: Mapped[str] = mapped_column(String(128))
    bytes: Mapped[int] = mapped_column(Integer)
    sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16))
    error: Mapped[str | None] = mapped_column(Text)
    pages: Mapped[int | None] = mapped_column(Integer)
    pieces: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[datetime]


class DocumentPieceRow(Owned, Table):
    """A piece of a document's text. `place`: `headings`, and `span` with `unit`, `first`, `last`, or null."""

    __tablename__ = "document_pieces"

    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    place: Mapped[dict[str, Any]]


class ShelfRow(Owned, Table):
    """Derived: a shelf of passages, of `chats` or of `documents`; its indexes are under its id.

    What does not apply of its place (user, persona, session) is ''.

    `last_change` numbers what has happened to its passages. Tombstones up to `tidied_to` are no longer here,
    so an index that has not come so far is filled anew; one that is not past `purged_at` is rewritten.
    """

    __tablename__ = "shelves"
    __table_args__ = (UniqueConstraint("owner", "kind", "user_id", "persona_id", "session_id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    user_id: Mapped[str] = mapped_column(String(256))
    persona_id: Mapped[str] = mapped_column(String(32))
    session_id: Mapped[str] = mapped_column(String(32), index=True)
    last_change: Mapped[int] = mapped_column(Integer)
    purged_at: Mapped[int] = mapped_column(Integer)
    tidied_to: Mapped[int] = mapped_column(Integer)


class PassageRow(Owned, Table):
    """Derived: a passage on a shelf, which is `content[start:stop]` of its message, or its tombstone.

    `key` is source and number in one, which is looked up fast on every database. `change`: when that became
    so, by its shelf's count. Tombstones outlive the session: the indexes are still
    to learn of them.
    """

    __tablename__ = "passages"
    __table_args__ = (
        Index("ix_passages_changes", "shelf_id", "change", "source", "number"),
        Index("ix_passages_positions", "source", "position"),
        Index("ix_passages_key", "key"),
        Index("ix_passages_shelves", "source", "shelf_id"),
        Index(
            "ix_passages_tombstones",
            "shelf_id",
            "change",
            sqlite_where=text("is_gone"),
            postgresql_where=text("is_gone"),
        ),
    )

    shelf_id: Mapped[str] = mapped_column(ForeignKey("shelves.id", ondelete="CASCADE"), primary_key=True)
    source: Mapped[str] = mapped_column(String(32), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    key: Mapped[str] = mapped_column(String(48))
    message_id: Mapped[str] = mapped_column(String(32))
    position: Mapped[int] = mapped_column(Integer)
    turn: Mapped[int] = mapped_column(Integer)
    start: Mapped[int] = mapped_column(Integer)
    stop: Mapped[int] = mapped_column(Integer)
    role: Mapped[str] = mapped_column(String(16))
    speaker: Mapped[str] = mapped_column(Text)
    said_at: Mapped[datetime]
    change: Mapped[int] = mapped_column(Integer)
    is_gone: Mapped[bool] = mapped_column(Boolean)


IS_TOMBSTONE = text("passages.is_gone")
"""As `app.storage.tables.ON_ACTIVE_PATH`, of the index of tombstones."""


class ShelvedSessionRow(Owned, Table):
    """Derived: how far a session's active path is on the shelves: up to but not of position `end`.

    `next_number` is that of its next passage.
    """

    __tablename__ = "shelved_sessions"

    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    end: Mapped[int] = mapped_column(Integer)
    next_number: Mapped[int] = mapped_column(Integer)
