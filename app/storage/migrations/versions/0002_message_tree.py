"""Messages become a tree with an active path; marks, sampled token ids, and where a session branched from."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

GENERATING = sa.text("status = 'generating'")
IS_ACTIVE = sa.text("is_active")
STANDING = sa.text("ended_at IS NULL")


def upgrade() -> None:
    _grow_the_tree()
    _keep_sampled_tokens()
    _create_marks()
    with op.batch_alter_table("message_tokens") as message_tokens:
        message_tokens.add_column(
            sa.Column("is_excluded", sa.Boolean, nullable=False, server_default=sa.false())
        )
    with op.batch_alter_table("message_tokens") as message_tokens:
        message_tokens.alter_column("is_excluded", server_default=None)
    with op.batch_alter_table("sessions") as sessions:
        sessions.add_column(sa.Column("branched_from_session", sa.String(32)))
        sessions.add_column(sa.Column("branched_from_message", sa.String(32)))


def _grow_the_tree() -> None:
    """What was a list becomes the only path: all active, each message the parent of the next."""
    op.drop_index("ix_messages_generating", "messages")
    with op.batch_alter_table("messages") as messages:
        messages.add_column(sa.Column("parent_id", sa.String(32)))
        messages.add_column(sa.Column("alternative", sa.Integer, nullable=False, server_default="0"))
        messages.add_column(sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()))
        messages.add_column(sa.Column("forgotten_at", sa.DateTime(timezone=True)))
        messages.add_column(sa.Column("copied_from", sa.String(32)))
    op.execute(
        "UPDATE messages SET parent_id = (SELECT before.id FROM messages AS before"
        " WHERE before.session_id = messages.session_id AND before.position = messages.position - 1)"
    )
    with op.batch_alter_table("messages") as messages:
        messages.drop_constraint("uq_messages_session_id_position", type_="unique")
        messages.alter_column("alternative", server_default=None)
        messages.alter_column("is_active", server_default=None)
        messages.create_foreign_key("fk_messages_parent_id", "messages", ["parent_id"], ["id"])
    op.create_index("ix_messages_alternatives", "messages", ["parent_id", "session_id"])
    op.create_index(
        "ix_messages_active_path",
        "messages",
        ["session_id", "position"],
        unique=True,
        sqlite_where=IS_ACTIVE,
        postgresql_where=IS_ACTIVE,
    )
    op.create_index(
        "ix_messages_generating",
        "messages",
        ["status"],
        sqlite_where=GENERATING,
        postgresql_where=GENERATING,
    )


def _keep_sampled_tokens() -> None:
    """Ids of generated replies stood in the index alone; from here on it can be cut without losing them."""
    op.create_table(
        "sampled_tokens",
        sa.Column("message_id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("token_ids", sa.LargeBinary, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("message_id", name="pk_sampled_tokens"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name="fk_sampled_tokens_message_id", ondelete="CASCADE"
        ),
    )
    op.execute(
        "INSERT INTO sampled_tokens (message_id, owner, token_ids, fingerprint)"
        " SELECT tokens.message_id, tokens.owner, tokens.token_ids, tokens.fingerprint"
        " FROM message_tokens AS tokens JOIN messages ON messages.id = tokens.message_id"
        " WHERE messages.role = 'assistant' AND messages.model IS NOT NULL"
    )


def _create_marks() -> None:
    op.create_table(
        "message_marks",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("session_id", sa.String(32), nullable=False),
        sa.Column("message_id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_message_marks"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_message_marks_session_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name="fk_message_marks_message_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_message_marks_session_id", "message_marks", ["session_id"])
    op.create_index(
        "ix_message_marks_standing",
        "message_marks",
        ["message_id", "kind"],
        unique=True,
        sqlite_where=STANDING,
        postgresql_where=STANDING,
    )
