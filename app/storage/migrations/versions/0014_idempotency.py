"""Idempotency keys: what was made by requests that may come again."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("made", sa.JSON, nullable=False),
        sa.Column("session_id", sa.String(32)),
        sa.Column("document_id", sa.String(32)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_idempotency_keys"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_idempotency_keys_session_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], name="fk_idempotency_keys_document_id", ondelete="CASCADE"
        ),
    )
    for column in ("session_id", "document_id", "created_at"):
        op.create_index(f"ix_idempotency_keys_{column}", "idempotency_keys", [column])
