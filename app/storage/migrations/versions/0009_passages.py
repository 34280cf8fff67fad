"""Shelves of passages, which the indexes of recall follow."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "shelves",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("user_id", sa.String(256), nullable=False),
        sa.Column("persona_id", sa.String(32), nullable=False),
        sa.Column("session_id", sa.String(32), nullable=False),
        sa.Column("last_change", sa.Integer, nullable=False),
        sa.Column("purged_at", sa.Integer, nullable=False),
        sa.Column("tidied_to", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_shelves"),
        sa.UniqueConstraint(
            "owner",
            "kind",
            "user_id",
            "persona_id",
            "session_id",
            name="uq_shelves_owner_kind_user_id_persona_id_session_id",
        ),
    )
    op.create_index("ix_shelves_session_id", "shelves", ["session_id"])
    op.create_table(
        "passages",
        sa.Column("shelf_id", sa.String(32), nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("key", sa.String(48), nullable=False),
        sa.Column("message_id", sa.String(32), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("start", sa.Integer, nullable=False),
        sa.Column("stop", sa.Integer, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("speaker", sa.Text, nullable=False),
        sa.Column("said_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("change", sa.Integer, nullable=False),
        sa.Column("is_gone", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("shelf_id", "source", "number", name="pk_passages"),
        sa.ForeignKeyConstraint(
            ["shelf_id"], ["shelves.id"], name="fk_passages_shelf_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_passages_changes", "passages", ["shelf_id", "change", "source", "number"])
    op.create_index("ix_passages_positions", "passages", ["source", "position"])
    op.create_index("ix_passages_key", "passages", ["key"])
    op.create_index("ix_passages_shelves", "passages", ["source", "shelf_id"])
    op.create_index(
        "ix_passages_tombstones",
        "passages",
        ["shelf_id", "change"],
        sqlite_where=sa.text("is_gone"),
        postgresql_where=sa.text("is_gone"),
    )
    op.create_table(
        "shelved_sessions",
        sa.Column("session_id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("end", sa.Integer, nullable=False),
        sa.Column("next_number", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("session_id", name="pk_shelved_sessions"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_shelved_sessions_session_id", ondelete="CASCADE"
        ),
    )
