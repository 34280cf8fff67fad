"""Which state of a session its upkeep has reached."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("kept_up_at", sa.DateTime(timezone=True)))
    op.execute("UPDATE sessions SET kept_up_at = updated_at")
