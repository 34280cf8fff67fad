"""Character cards of personas, and greetings to choose from."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column(
        "persona_revisions",
        sa.Column("alternate_greetings", sa.JSON, nullable=False, server_default="[]"),
    )
    op.create_table(
        "persona_cards",
        sa.Column("persona_id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("card", sa.JSON, nullable=False),
        sa.Column("book", sa.JSON),
        sa.PrimaryKeyConstraint("persona_id", name="pk_persona_cards"),
        sa.ForeignKeyConstraint(
            ["persona_id"], ["personas.id"], name="fk_persona_cards_persona_id", ondelete="CASCADE"
        ),
    )
