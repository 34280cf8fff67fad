"""Documents and their pieces."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "documents",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(256)),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("media_type", sa.String(128), nullable=False),
        sa.Column("bytes", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("pages", sa.Integer),
        sa.Column("pieces", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_documents"),
    )
    op.create_index("ix_documents_listing", "documents", ["owner", "created_at", "id"])
    for name, columns, condition in (
        ("ix_documents_of_all", ["owner", "sha256"], sa.text("user_id IS NULL")),
        ("ix_documents_of_user", ["owner", "user_id", "sha256"], sa.text("user_id IS NOT NULL")),
    ):
        op.create_index(
            name, "documents", columns, unique=True, sqlite_where=condition, postgresql_where=condition
        )
    op.create_table(
        "document_pieces",
        sa.Column("document_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("place", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("document_id", "number", name="pk_document_pieces"),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], name="fk_document_pieces_document_id", ondelete="CASCADE"
        ),
    )
