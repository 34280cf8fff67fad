"""`/v1/messages/{id}/events`: the events of a reply, gone on with where they broke off."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from app.api.dependencies import OwnerDep, ServiceDep
from app.api.replies import REPLY_RESPONSES, reply_response
from app.chat.existing import existing_message
from app.chat.stored_turn import stored_turn
from app.errors import NotFoundProblem

router = APIRouter(prefix="/v1", tags=["messages"])


@router.get("/messages/{message_id}/events", response_class=Response, responses=REPLY_RESPONSES)
async def follow_reply(
    message_id: str,
    request: Request,
    service: ServiceDep,
    owner: OwnerDep,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID", max_length=64, description="Go on behind this event; none: from the first."
        ),
    ] = None,
) -> Response:
    """The events of the reply `message_id`, while it is generated and for a while after its end, if the
    request for it was a stream with an `Idempotency-Key`; later, or else, the stored reply as events, whole.

    204 if there is nothing behind the last event.
    """
    events = await service.keyed.follow(request, owner, message_id, last_event_id)
    if events is not None:
        return events
    async with service.database.read() as session:
        reply = await existing_message(session, owner, message_id)
    if reply.role != "assistant" or reply.parent_id is None:
        raise NotFoundProblem(f"message {message_id} is no reply")
    turn = await stored_turn(service.database, owner, reply.parent_id, message_id)
    return await reply_response(request, turn, stream=True)
