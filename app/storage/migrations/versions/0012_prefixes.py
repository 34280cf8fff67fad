"""Prefixes of messages, sources of replies, and instructions of a chat in the place of its persona's."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    with op.batch_alter_table("sessions") as sessions:
        sessions.add_column(sa.Column("prefixes", sa.Boolean, nullable=False, server_default=sa.false()))
        sessions.add_column(sa.Column("instructions", sa.Text))
    with op.batch_alter_table("sessions") as sessions:
        sessions.alter_column("prefixes", server_default=None)
    op.add_column("session_personas", sa.Column("instructions", sa.Text))
    op.add_column("messages", sa.Column("prefix", sa.Text))
    op.add_column("messages", sa.Column("sources", sa.JSON))
