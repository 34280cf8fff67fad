"""Which personas are public: the cached keys and values of their text may serve other owners, too."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    with op.batch_alter_table("personas") as personas:
        personas.add_column(sa.Column("public", sa.Boolean, nullable=False, server_default=sa.false()))
    with op.batch_alter_table("personas") as personas:
        personas.alter_column("public", server_default=None)
