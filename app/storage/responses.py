"""Responses of OpenAI's API, by the replies that they are."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from app.storage.repository import Repository
from app.storage.response_tables import ResponseRow


class Responses(Repository):
    """The responses of one owner."""

    async def keep(
        self, message_id: str, session_id: str, input_ids: Sequence[str], request: dict[str, Any]
    ) -> None:
        """Note that the reply of that id, which is about to be generated, is a response."""
        await self.hold_chats([session_id])
        self.add(
            ResponseRow(
                message_id=message_id,
                session_id=session_id,
                input_ids=list(input_ids),
                request=request,
                created_at=datetime.now(UTC),
            )
        )
        await self.session.flush()

    async def get(self, message_id: str) -> ResponseRow | None:
        query = self.select(ResponseRow).where(ResponseRow.message_id == message_id)
        return (await self.session.scalars(query)).one_or_none()

    async def note_cancelled(self, row: ResponseRow) -> None:
        """Note that the generation of a response is to end."""
        await self.hold_chats([row.session_id])
        if (stored := await self.get(row.message_id)) is not None:
            stored.cancelled_at = datetime.now(UTC)

    async def remove(self, row: ResponseRow) -> None:
        """Delete what is kept of a response; the messages stay as they are."""
        await self.hold_chats([row.session_id])
        await self.session.execute(self.delete(ResponseRow).where(ResponseRow.message_id == row.message_id))
