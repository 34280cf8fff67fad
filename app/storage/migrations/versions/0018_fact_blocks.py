"""What windows tell of facts, ready to be read."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "fact_blocks",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("session_id", sa.String(32), nullable=False),
        sa.Column("first_turn", sa.Integer, nullable=False),
        sa.Column("user_id", sa.String(256)),
        sa.Column("known_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("persona_id", sa.String(32)),
        sa.Column("max_tokens", sa.Integer, nullable=False),
        sa.Column("fact_ids", sa.JSON, nullable=False),
        sa.Column("token_ids", sa.LargeBinary, nullable=False),
        sa.Column("left_out", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_fact_blocks"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_fact_blocks_session_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("session_id", "first_turn", name="uq_fact_blocks_session_id_first_turn"),
    )
    op.create_index("ix_fact_blocks_user", "fact_blocks", ["user_id", "owner", "known_before"])
    op.drop_index("ix_facts_user", "facts")
    op.create_index("ix_facts_user", "facts", ["user_id", "persona_id", "owner", "said_at"])
