"""Facts that messages tell of the user and the persona."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "facts",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("session_id", sa.String(32), nullable=False),
        sa.Column("user_id", sa.String(256)),
        sa.Column("persona_id", sa.String(32)),
        sa.Column("message_id", sa.String(32)),
        sa.Column("quote_start", sa.Integer),
        sa.Column("quote_end", sa.Integer),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("ends", sa.Text),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("said_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("enters_at", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_facts"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_facts_session_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name="fk_facts_message_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_facts_session", "facts", ["session_id", "said_at"])
    op.create_index("ix_facts_user", "facts", ["owner", "user_id", "persona_id", "said_at"])
    op.create_index("ix_facts_message_id", "facts", ["message_id"])
    op.create_table(
        "refused_facts",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("session_id", sa.String(32), nullable=False),
        sa.Column("message_id", sa.String(32), nullable=False),
        sa.Column("quote_start", sa.Integer, nullable=False),
        sa.Column("quote_end", sa.Integer, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value_digest", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_refused_facts"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_refused_facts_session_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name="fk_refused_facts_message_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_refused_facts_message_id", "refused_facts", ["message_id"])
    op.create_table(
        "fact_watermarks",
        sa.Column("session_id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("session_id", name="pk_fact_watermarks"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_fact_watermarks_session_id", ondelete="CASCADE"
        ),
    )
