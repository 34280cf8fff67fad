"""Which persona a chat session has had from which turn on. Of earlier sessions it is not known."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "session_personas",
        sa.Column("session_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("persona_id", sa.String(32)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "number", name="pk_session_personas"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_session_personas_session_id", ondelete="CASCADE"
        ),
    )
