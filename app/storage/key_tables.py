"""The tables of API keys. Of a secret they have the digest and the first characters only."""

from datetime import datetime

from sqlalchemy import Float, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.tables import Owned, Table


class KeyRow(Owned, Table):
    """An API key: it speaks for its owner, or with `user_id` for that user of it alone. Limits: None is none.

    Never deleted, so that it stays known who had one.
    """

    __tablename__ = "api_keys"
    __table_args__ = (Index("ix_api_keys_digest", "digest", unique=True),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    user_id: Mapped[str | None] = mapped_column(String(256))
    name: Mapped[str] = mapped_column(String(256))
    prefix: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]]
    requests_per_minute: Mapped[int | None] = mapped_column(Integer)
    tokens_per_minute: Mapped[int | None] = mapped_column(Integer)
    stored_mb: Mapped[int | None] = mapped_column(Integer)
    concurrent_generations: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class KeyUsageRow(Owned, Table):
    """How much a key had left, at that time, of its `requests` or its `tokens` a minute.

    On PostgreSQL it is not logged, and so costs no write to the disk; after a crash keys begin anew.
    """

    __tablename__ = "key_usage"

    key_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    what: Mapped[str] = mapped_column(String(16), primary_key=True)
    per_minute: Mapped[int] = mapped_column(Integer)
    level: Mapped[float] = mapped_column(Float)
    as_of: Mapped[datetime]
