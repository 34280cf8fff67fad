"""More of a persona, and what a chat's user is called."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    for column in (
        sa.Column("style", sa.Text, nullable=False, server_default=""),
        sa.Column("facts", sa.JSON, nullable=False, server_default="[]"),
        sa.Column("speech_rules", sa.JSON, nullable=False, server_default="[]"),
        sa.Column("forbidden_phrases", sa.JSON, nullable=False, server_default="[]"),
        sa.Column("user_name", sa.Text),
        sa.Column("reminder", sa.JSON),
    ):
        op.add_column("persona_revisions", column)
    op.add_column("sessions", sa.Column("user_name", sa.Text))
