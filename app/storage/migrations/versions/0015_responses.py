"""Responses of OpenAI's API, and the metadata of conversations."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    with op.batch_alter_table("sessions") as sessions:
        sessions.add_column(sa.Column("metadata", sa.JSON, nullable=False, server_default="{}"))
    with op.batch_alter_table("sessions") as sessions:
        sessions.alter_column("metadata", server_default=None)
    op.create_table(
        "responses",
        sa.Column("message_id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("session_id", sa.String(32), nullable=False),
        sa.Column("input_ids", sa.JSON, nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("message_id", name="pk_responses"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_responses_session_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_responses_session_id", "responses", ["session_id"])
