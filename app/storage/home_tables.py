"""The tables of home folders, where processes keep copies: what each of them is still to let go of."""

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.tables import Owned, Table


class HomeRow(Owned, Table):
    """The home folder of a process. Its owner is '': it has indexes and cached keys and values of all."""

    __tablename__ = "homes"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    host: Mapped[str] = mapped_column(String(256))
    seen_at: Mapped[datetime]


class DeletionHomeRow(Owned, Table):
    """A home from which a deletion is still to be purged."""

    __tablename__ = "deletion_homes"

    deletion_id: Mapped[str] = mapped_column(ForeignKey("deletions.id", ondelete="CASCADE"), primary_key=True)
    home_id: Mapped[str] = mapped_column(
        ForeignKey("homes.id", ondelete="CASCADE"), primary_key=True, index=True
    )
