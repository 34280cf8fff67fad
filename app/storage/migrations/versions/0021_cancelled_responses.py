"""When a response was cancelled: of one that was before its first word, nothing else is stored."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.add_column("responses", sa.Column("cancelled_at", sa.DateTime(timezone=True)))
