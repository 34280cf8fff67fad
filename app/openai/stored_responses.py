"""What is stored of a response, and whether more of it is on its way."""

from dataclasses import dataclass

from app.api.dependencies import Service
from app.openai.ids import message_id_of
from app.storage.messages import Messages
from app.storage.response_tables import ResponseRow
from app.storage.responses import Responses
from app.storage.tables import MessageRow


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """`reply`: None if nothing of it is stored, yet or for good."""

    row: ResponseRow
    reply: MessageRow | None
    is_running: bool


async def find_response(service: Service, owner: str, response_id: str) -> StoredResponse | None:
    """The response as it is now; None if there is none of that id, or its reply is forgotten."""
    message_id = message_id_of(response_id)
    if message_id is None:
        return None
    row, reply = await _read(service, owner, message_id)
    is_running = False
    if row is not None and (reply is None or reply.status == "generating"):
        is_running = await service.chat.is_generating(row.session_id, message_id)
        if not is_running:  # it may have ended since it was read
            row, reply = await _read(service, owner, message_id)
    if row is None or (reply is not None and reply.forgotten_at is not None):
        return None
    return StoredResponse(row, reply, is_running)


async def _read(
    service: Service, owner: str, message_id: str
) -> tuple[ResponseRow | None, MessageRow | None]:
    async with service.database.read() as session:
        row = await Responses(session, owner).get(message_id)
        replies = await Messages(session, owner).get_many([message_id] if row else [])
    return row, replies.get(message_id)
