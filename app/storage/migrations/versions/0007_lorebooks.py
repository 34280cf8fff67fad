"""Lorebooks of chat sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("lore_scan_depth", sa.Integer, nullable=False, server_default="4"))
    op.add_column(
        "sessions", sa.Column("lore_token_budget", sa.Integer, nullable=False, server_default="512")
    )
    op.create_table(
        "lore_entries",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("session_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("message_id", sa.String(32)),
        sa.Column("content", sa.Text),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lore_entries"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_lore_entries_session_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name="fk_lore_entries_message_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("session_id", "number", name="uq_lore_entries_session_id_number"),
    )
    op.create_index("ix_lore_entries_message_id", "lore_entries", ["message_id"])
