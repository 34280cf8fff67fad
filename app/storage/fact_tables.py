"""The tables of facts. What is extracted can be dropped and extracted anew; what the owner said stays."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, Integer, String, Text
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
        Index("ix_facts_user", "owner", "user_id", "persona_id", "said_at"),
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
