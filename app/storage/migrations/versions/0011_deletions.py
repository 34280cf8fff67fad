"""Receipts of deletions, and the time by which copies of a message are found."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "deletions",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("target", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("removed", sa.JSON, nullable=False),
        sa.Column("scope", sa.JSON, nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_deletions"),
    )
    op.create_index("ix_deletions_target", "deletions", ["owner", "kind", "target"])
    pending = sa.text("status = 'pending'")
    op.create_index(
        "ix_deletions_pending", "deletions", ["status"], sqlite_where=pending, postgresql_where=pending
    )
    op.create_index("ix_messages_created_at", "messages", ["created_at"])
