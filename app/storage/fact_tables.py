"""The tables of facts. What is extracted can be dropped and extracted anew; what the owner said stays."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.tables import Owned, Table


class FactRow(Owned, Table):
    """A fact that a message of a session tells, or its owner. Never rewritten.

    It counts as long as its message is on the active path and not excluded. In windows of its own chat it
    stands from those on that begin with `enters_at` or a later turn. `user_id` is that of
    the session, `persona_id` the one that it had at the message's turn. `ends`: the older value that no
    longer holds, "" for every one.
    """

    __tablename__ = "facts"
    __table_args__ = (
        Index("ix_facts_session", "session_id", "said_at"),
        # None begins with the owner: SQLite would look up facts by ids in it, and walk all of the owner's.
        Index("ix_facts_user", "user_id", "persona_id", "owner", "said_at"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    user_id: Mapped[str | None] = mapped_column(String(256))
    persona_id: Mapped[str | None] = mapped_column(String(32))
    message_id: Mapped[str | None] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    quote_start: Mapped[int | None] = mapped_column(Integer)
    quote_end: Mapped[int | None] = mapped_column(Integer)
    subject: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    value: Mapped[str] = mapped_column(Text)
    ends: Mapped[str | None] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(Text)
    said_at: Mapped[datetime]
    enters_at: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]


class RefusedFactRow(Owned, Table):
    """A fact that the owner deleted: it is not extracted from that span again. What it said is not kept."""

    __tablename__ = "refused_facts"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    quote_start: Mapped[int] = mapped_column(Integer)
    quote_end: Mapped[int] = mapped_column(Integer)
    key: Mapped[str] = mapped_column(Text)
    value_digest: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]


class FactWatermarkRow(Owned, Table):
    """How far facts are extracted from a session: up to the message at `position` of its active path."""

    __tablename__ = "fact_watermarks"

    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer)


class FactBlockRow(Owned, Table):
    """Derived: what a window of a session that begins with `first_turn` tells of facts, ready to be read.

    It is put down before the facts are read, with no `fingerprint`. Whatever changes what stands in that
    window deletes the row in the same unit of work, so what was read before such a change is not kept.
    `known_before`: when the turn began, of the user's other chats the window tells what was known then.
    `persona_id`: the session's when they were read. `fact_ids` have room in `max_tokens`, `left_out` others
    have not. `token_ids` are under one tokeniser and template, like those of messages.
    """

    __tablename__ = "fact_blocks"
    __table_args__ = (
        UniqueConstraint("session_id", "first_turn"),
        Index("ix_fact_blocks_user", "user_id", "owner", "known_before"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    first_turn: Mapped[int] = mapped_column(Integer)
    user_id: Mapped[str | None] = mapped_column(String(256))
    known_before: Mapped[datetime]
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    persona_id: Mapped[str | None] = mapped_column(String(32))
    max_tokens: Mapped[int] = mapped_column(Integer, default=0)
    fact_ids: Mapped[list[str]] = mapped_column(default=list)
    token_ids: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    left_out: Mapped[int] = mapped_column(Integer, default=0)
