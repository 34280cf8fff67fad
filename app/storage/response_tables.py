"""The table of responses: what OpenAI's API keeps of a reply beside the message that it is."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.tables import Owned, Table


class ResponseRow(Owned, Table):
    """How a reply was asked for; there from when its input is stored, so before the reply itself is.

    `message_id`: the reply's. `input_ids`: the messages that were sent for it. `request`: what of the request
    the response repeats. `cancelled_at`: when its generation was asked to end, which it may have done before
    the first word.
    """

    __tablename__ = "responses"

    message_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), index=True)
    input_ids: Mapped[list[str]]
    request: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    cancelled_at: Mapped[datetime | None]
