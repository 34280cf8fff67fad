"""What goes over the wire of deletions."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.deletions import Receipt


class StoreView(BaseModel):
    removed: int
    remaining: int = Field(description="Counted when this was asked for.")


class DeletionView(BaseModel):
    """The receipt of a deletion."""

    id: str
    kind: Literal["message", "session", "user"]
    target: str = Field(description="The id; of a user its SHA-256, since the name is deleted too.")
    status: Literal["pending", "done"]
    requested_at: datetime
    done_at: datetime | None
    stores: dict[str, StoreView]
    waits_for: str | None = Field(None, description="What keeps it from being done; it is tried again.")

    @classmethod
    def of(cls, receipt: Receipt) -> "DeletionView":
        row = receipt.deletion
        return cls(
            id=row.id,
            kind=row.kind,
            target=row.target,
            status=row.status,
            requested_at=row.requested_at,
            done_at=row.done_at,
            stores={
                name: StoreView(removed=row.removed.get(name, 0), remaining=remaining)
                for name, remaining in receipt.remaining.items()
            },
            waits_for=receipt.waits_for,
        )
