"""`/v1/responses`: replies that the service can keep, each behind the one before it."""

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.api.dependencies import OwnerDep, Service, ServiceDep
from app.api.idempotency import IDEMPOTENT, IdempotentRoute
from app.api.replies import CLIENT_CLOSED_REQUEST, events_address
from app.api.streams import until_disconnect
from app.chat.stored_turn import StoredTurn
from app.errors import InvalidProblem, NotFoundProblem
from app.ids import new_id
from app.openai.answering import STREAM_RESPONSES
from app.openai.bound import TurnReply
from app.openai.errors import no_such_model, unsupported
from app.openai.ids import message_id_of, response_id_of
from app.openai.item_schemas import ItemList, Paging, item_list, no_such_item
from app.openai.logprobs import TokenTexts
from app.openai.responding import Responding
from app.openai.response_answers import ResponseAnswer
from app.openai.response_schemas import ResponseCreate, ResponseDeleted, ResponseEcho, ResponseView
from app.openai.response_views import completed_at, stored_view
from app.openai.unstored import start_unstored
from app.storage.messages import Messages
from app.storage.response_tables import ResponseRow
from app.storage.responses import Responses
from app.storage.tables import MessageRow

router = APIRouter(prefix="/v1/responses", tags=["OpenAI"], route_class=IdempotentRoute)

LOGPROBS = "message.output_text.logprobs"


@router.post("", response_model=ResponseView, responses=STREAM_RESPONSES, dependencies=[IDEMPOTENT])
async def create_response(
    body: ResponseCreate, request: Request, service: ServiceDep, owner: OwnerDep
) -> Response:
    """Reply to the input: in a conversation, behind another response, or as the first of its own.

    Input and reply are stored, unless `store` is false. Where another response follows already, the new one
    begins a branch.
    """
    arrived_at = time.perf_counter()
    _check(body, service)
    wants_logprobs = bool(body.top_logprobs) or LOGPROBS in (body.include or ())
    logprobs = (body.top_logprobs or 0) if wants_logprobs else None
    texts = TokenTexts(service.model.tokenizer) if wants_logprobs else None
    if body.store is False:
        unstored = await start_unstored(service, owner, body, logprobs)
        answer = ResponseAnswer(new_id("resp"), new_id("msg"), unstored.reply, unstored.echo, texts)
    else:
        responding = Responding(service, owner, body, logprobs, arrived_at)
        starting = asyncio.ensure_future(responding.start())
        async with until_disconnect(request, starting.cancel):
            try:
                started = await starting
            except asyncio.CancelledError:
                if starting.cancelled():  # the client went away before anything was stored
                    return Response(status_code=CLIENT_CLOSED_REQUEST)
                raise
        reply = TurnReply(started.turn)
        address = events_address(reply.id)
        answer = ResponseAnswer(response_id_of(reply.id), reply.id, reply, started.echo, texts, address)
    return answer.stream() if body.stream else await answer.whole(request)


async def respond_again(
    request: Request, service: Service, owner: str, turn: StoredTurn, *, stream: bool
) -> Response:
    """The answer with a stored reply, as it was given; without log-probabilities, which are not kept.

    Raises NotFoundProblem if the response was deleted.
    """
    row, _ = await _existing_response(service, owner, response_id_of(turn.reply_id))
    answer = ResponseAnswer(
        response_id_of(turn.reply_id),
        turn.reply_id,
        TurnReply(turn),
        ResponseEcho.model_validate(row.request),
        texts=None,
        address=events_address(turn.reply_id),
        created=int(row.created_at.timestamp()),
        completed=completed_at(row, turn.reply),
    )
    return answer.stream() if stream else await answer.whole(request)


@router.get("/{response_id}")
async def get_response(
    response_id: str,
    service: ServiceDep,
    owner: OwnerDep,
    stream: Annotated[bool, Query(description="Only false: a stream is sent once.")] = False,
) -> ResponseView:
    """A stored response, as its reply stands now."""
    if stream:
        raise unsupported("stream", "a stream is sent once, to the request that asked for the reply")
    return await _view(service, *await _existing_response(service, owner, response_id))


@router.post("/{response_id}/cancel")
async def cancel_response(response_id: str, service: ServiceDep, owner: OwnerDep) -> ResponseView:
    """End the generation of a response; what there is of it is kept. One that is cancelled stays so."""
    row, reply = await _existing_response(service, owner, response_id)
    view = await _view(service, row, reply)
    if view.status == "cancelled":
        return view
    if view.status != "in_progress":
        raise InvalidProblem.of_field("response_id", f"the response is {view.status} already")
    await service.chat.end_turn(row.message_id)
    async with service.chat.quiet(row.session_id):
        row, reply = await _existing_response(service, owner, response_id)
    return await _view(service, row, reply)


@router.get("/{response_id}/input_items")
async def list_input_items(
    response_id: str,
    service: ServiceDep,
    owner: OwnerDep,
    page: Paging,
) -> ItemList:
    """The messages that were sent for this response, and not those of others before it."""
    row, _ = await _existing_response(service, owner, response_id)
    async with service.database.read() as session:
        found = await Messages(session, owner).get_many(row.input_ids)
    rows = [found[each] for each in row.input_ids if each in found and found[each].forgotten_at is None]
    if page.order == "desc":
        rows.reverse()
    if page.after is not None:
        places = [place for place, item in enumerate(rows) if item.id == page.after]
        if not places:
            raise no_such_item(page.after)
        rows = rows[places[0] + 1 :]
    return item_list(rows[: page.limit], has_more=len(rows) > page.limit)


@router.delete("/{response_id}")
async def delete_response(response_id: str, service: ServiceDep, owner: OwnerDep) -> ResponseDeleted:
    """Delete a response for good, with its messages; those of a conversation stay until that deletes them."""
    row, _ = await _existing_response(service, owner, response_id)
    if row.request["conversation"] is None:
        await _delete_messages(service, owner, row)
    async with service.database.write() as session:
        await Responses(session, owner).remove(row)
    service.keyed.forget(owner)
    return ResponseDeleted(id=response_id)


async def _delete_messages(service: Service, owner: str, row: ResponseRow) -> None:
    """Delete input and reply, and the session with the last of its messages."""
    for message_id in (*row.input_ids, row.message_id):
        async with service.database.read() as session:
            message = await Messages(session, owner).get(message_id)
        if message is not None:  # a reply goes with what it replies to
            await service.deleting.message(owner, message_id)
    async with service.database.read() as session:
        left = await Messages(session, owner).list(row.session_id, after=None, limit=1, newest_first=False)
    if not left:
        await service.deleting.session(owner, row.session_id)


async def _existing_response(
    service: Service, owner: str, response_id: str
) -> tuple[ResponseRow, MessageRow | None]:
    """A response and what is stored of its reply. Raises NotFoundProblem."""
    message_id = message_id_of(response_id)
    async with service.database.read() as session:
        row = await Responses(session, owner).get(message_id) if message_id else None
        replies = await Messages(session, owner).get_many([row.message_id] if row else [])
    reply = replies.get(row.message_id) if row else None
    if row is None or (reply is not None and reply.forgotten_at is not None):
        raise NotFoundProblem(f"the response {response_id!r} does not exist")
    return row, reply


async def _view(service: Service, row: ResponseRow, reply: MessageRow | None) -> ResponseView:
    is_running = (reply is None or reply.status == "generating") and await service.chat.is_generating(
        row.session_id, row.message_id
    )
    return stored_view(row, reply, is_running=is_running)


def _check(body: ResponseCreate, service: Service) -> None:
    """Refuse what would change the response and is not to be had. Raises a problem.

    Tools may be offered: the model then always chooses to answer in words.
    """
    if body.model not in (None, service.model.engine.model.name):
        raise no_such_model(str(body.model))
    if body.conversation is not None and body.previous_response_id is not None:
        raise InvalidProblem.of_field(
            "previous_response_id", "a response is in a conversation or behind another one, not both"
        )
    if body.background:
        raise unsupported("background", "a response is generated while the client waits for it")
    if body.prompt is not None:
        raise unsupported("prompt", "no prompt templates are kept here")
    if body.tool_choice not in (None, "none", "auto"):
        raise unsupported("tool_choice", "the model calls no tools; it can only be offered them")
    form: Any = (body.text or {}).get("format")
    if form is not None and (not isinstance(form, dict) or form.get("type") != "text"):
        raise unsupported("text.format", "the model answers in plain text only")
