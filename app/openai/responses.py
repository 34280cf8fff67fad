"""`/v1/responses`: replies that the service can keep, each behind the one before it."""

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.api.dependencies import OwnerDep, Service, ServiceDep
from app.api.idempotency import IDEMPOTENT, IdempotentRoute
from app.api.replies import CLIENT_CLOSED_REQUEST, events_address
from app.api.streams import until_disconnect
from app.chat.stored_turn import StoredTurn, stored_turn
from app.errors import InvalidProblem, NotFoundProblem, SessionBusyProblem
from app.ids import new_id
from app.openai.answering import STREAM_RESPONSES
from app.openai.bound import TurnReply
from app.openai.errors import no_such_model, unsupported
from app.openai.ids import response_id_of
from app.openai.item_schemas import ItemList, Paging, item_list, no_such_item
from app.openai.logprobs import TokenTexts
from app.openai.responding import Responding
from app.openai.response_answers import ResponseAnswer
from app.openai.response_schemas import ResponseCreate, ResponseDeleted, ResponseEcho, ResponseView
from app.openai.response_views import completed_at, stored_view
from app.openai.stored_responses import StoredResponse, find_response
from app.openai.unstored import start_unstored
from app.storage.messages import Messages
from app.storage.response_tables import ResponseRow
from app.storage.responses import Responses

router = APIRouter(prefix="/v1/responses", tags=["OpenAI"], route_class=IdempotentRoute)

LOGPROBS = "message.output_text.logprobs"
MOST_EVENTS = 1_000_000_000


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
    if body.background:
        return await _in_background(request, service, owner, answer, stream=bool(body.stream))
    return answer.stream() if body.stream else await answer.whole(request)


async def _in_background(
    request: Request, service: Service, owner: str, answer: ResponseAnswer, *, stream: bool
) -> Response:
    """Have the reply generated to its end; the answer is its beginning, or the stream of it."""
    recording = service.keyed.go_on(owner, answer.item_id, answer.stream(), request.scope)
    followed = None
    if stream:  # without ids: a request with a key gives its own
        followed = await recording.answer(request, recording.join(), after=0, is_replay=False, with_ids=False)
    return followed or answer.begun()


async def respond_again(
    request: Request, service: Service, owner: str, turn: StoredTurn, *, stream: bool
) -> Response:
    """The answer with a stored reply, as it was given; without log-probabilities, which are not kept.

    Raises NotFoundProblem if the response was deleted.
    """
    row = (await _existing_response(service, owner, response_id_of(turn.reply_id))).row
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


@router.get("/{response_id}", response_model=ResponseView, responses=STREAM_RESPONSES)
async def get_response(
    response_id: str,
    request: Request,
    service: ServiceDep,
    owner: OwnerDep,
    *,
    stream: Annotated[bool, Query(description="Its events, from the first on.")] = False,
    starting_after: Annotated[
        int | None,
        Query(ge=0, le=MOST_EVENTS, description="Of a stream: the events behind that `sequence_number`."),
    ] = None,
) -> ResponseView | Response:
    """A stored response, as its reply stands now.

    As a stream, while it is generated in the background and for a while after its end, the very events;
    later, what is stored as events, whole.
    """
    stored = await _existing_response(service, owner, response_id)
    if not stream:
        return stored_view(stored)
    recording = service.keyed.recorded(owner, stored.row.message_id)
    if recording is not None:
        after = 0 if starting_after is None else starting_after + 1
        if after > recording.event_count:
            raise InvalidProblem.of_field("starting_after", "no event of this response has that number yet")
        followed = await recording.answer(request, recording.join(), after=after, is_replay=True)
        if followed is not None:
            return followed
    if starting_after is not None:
        raise InvalidProblem.of_field(
            "starting_after",
            "the events of this response are not kept any more: stream it from its beginning",
        )
    return await _stored_stream(request, service, owner, stored)


async def _stored_stream(request: Request, service: Service, owner: str, stored: StoredResponse) -> Response:
    if stored.is_running:
        raise SessionBusyProblem("the response is still being generated, and its events are not kept here")
    reply = stored.reply
    if reply is None or reply.parent_id is None:
        status = stored_view(stored).status
        raise InvalidProblem.of_field("stream", f"the response is {status}, and nothing was said")
    turn = await stored_turn(service.database, owner, reply.parent_id, reply.id)
    return await respond_again(request, service, owner, turn, stream=True)


@router.post("/{response_id}/cancel")
async def cancel_response(response_id: str, service: ServiceDep, owner: OwnerDep) -> ResponseView:
    """End the generation of a response; what there is of it is kept. One that is cancelled stays so."""
    stored = await _existing_response(service, owner, response_id)
    view = stored_view(stored)
    if view.status == "cancelled":
        return view
    if view.status != "in_progress":
        raise InvalidProblem.of_field("response_id", f"the response is {view.status} already")
    async with service.database.write() as session:
        await Responses(session, owner).note_cancelled(stored.row)
    await service.chat.end_turn(stored.row.message_id)
    async with service.chat.quiet(stored.row.session_id):
        return stored_view(await _existing_response(service, owner, response_id))


@router.get("/{response_id}/input_items")
async def list_input_items(
    response_id: str,
    service: ServiceDep,
    owner: OwnerDep,
    page: Paging,
) -> ItemList:
    """The messages that were sent for this response, and not those of others before it."""
    row = (await _existing_response(service, owner, response_id)).row
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
    row = (await _existing_response(service, owner, response_id)).row
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


async def _existing_response(service: Service, owner: str, response_id: str) -> StoredResponse:
    """Raises NotFoundProblem."""
    stored = await find_response(service, owner, response_id)
    if stored is None:
        raise NotFoundProblem(f"the response {response_id!r} does not exist")
    return stored


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
    if body.background and body.store is False:
        raise InvalidProblem.of_field("background", "a response in the background is stored")
    if body.prompt is not None:
        raise unsupported("prompt", "no prompt templates are kept here")
    if body.tool_choice not in (None, "none", "auto"):
        raise unsupported("tool_choice", "the model calls no tools; it can only be offered them")
    form: Any = (body.text or {}).get("format")
    if form is not None and (not isinstance(form, dict) or form.get("type") != "text"):
        raise unsupported("text.format", "the model answers in plain text only")
