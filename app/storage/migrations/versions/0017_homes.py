"""The home folders of several processes, and the deletions that each is to carry out."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "homes",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("host", sa.String(256), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_homes"),
    )
    op.create_table(
        "deletion_homes",
        sa.Column("deletion_id", sa.String(32), nullable=False),
        sa.Column("home_id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("deletion_id", "home_id", name="pk_deletion_homes"),
        sa.ForeignKeyConstraint(
            ["deletion_id"], ["deletions.id"], name="fk_deletion_homes_deletion_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["home_id"], ["homes.id"], name="fk_deletion_homes_home_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_deletion_homes_home_id", "deletion_homes", ["home_id"])
