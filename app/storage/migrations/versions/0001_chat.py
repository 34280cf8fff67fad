"""Personas, chat sessions, messages, their token index and context records."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_personas()
    _create_sessions()
    _create_messages()
    _create_derived()


def _create_personas() -> None:
    op.create_table(
        "personas",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_personas"),
    )
    op.create_index("ix_personas_listing", "personas", ["owner", "created_at", "id"])
    op.create_table(
        "persona_revisions",
        sa.Column("persona_id", sa.String(32), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("instructions", sa.Text, nullable=False),
        sa.Column("examples", sa.JSON, nullable=False),
        sa.Column("greeting", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("persona_id", "revision", name="pk_persona_revisions"),
        sa.ForeignKeyConstraint(
            ["persona_id"], ["personas.id"], name="fk_persona_revisions_persona_id", ondelete="CASCADE"
        ),
    )


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(256)),
        sa.Column("persona_id", sa.String(32)),
        sa.Column("title", sa.Text),
        sa.Column("memory", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.ForeignKeyConstraint(["persona_id"], ["personas.id"], name="fk_sessions_persona_id"),
    )
    op.create_index("ix_sessions_listing", "sessions", ["owner", "created_at", "id"])
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    op.create_index("ix_sessions_persona_id", "sessions", ["persona_id"])


def _create_messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("session_id", sa.String(32), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("finish_reason", sa.String(16)),
        sa.Column("model", sa.Text),
        sa.Column("usage", sa.JSON),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_messages_session_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("session_id", "position", name="uq_messages_session_id_position"),
    )
    op.create_index("ix_messages_turn", "messages", ["session_id", "turn"])
    generating = sa.text("status = 'generating'")
    op.create_index(
        "ix_messages_generating",
        "messages",
        ["status"],
        sqlite_where=generating,
        postgresql_where=generating,
    )


def _create_derived() -> None:
    op.create_table(
        "message_tokens",
        sa.Column("session_id", sa.String(32), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("message_id", sa.String(32), nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("opens_turn", sa.Boolean, nullable=False),
        sa.Column("token_ids", sa.LargeBinary, nullable=False),
        sa.Column("token_count", sa.Integer, nullable=False),
        sa.Column("tokens_before", sa.Integer, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "position", name="pk_message_tokens"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_message_tokens_session_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name="fk_message_tokens_message_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_message_tokens_message_id", "message_tokens", ["message_id"])
    op.create_index(
        "ix_message_tokens_window", "message_tokens", ["session_id", "opens_turn", "tokens_before"]
    )
    op.create_table(
        "context_records",
        sa.Column("message_id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("session_id", sa.String(32), nullable=False),
        sa.Column("record", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("message_id", name="pk_context_records"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name="fk_context_records_message_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_context_records_session_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_context_records_session_id", "context_records", ["session_id"])
