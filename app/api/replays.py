"""The answer to a request whose key has been used, made anew of what it stored, as that stands now."""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.api.dependencies import Service, service_of
from app.api.documents import get_document
from app.api.lorebooks import entry_view
from app.api.personas import get_persona
from app.api.replies import instructions_notice, message_view, notice_response, reply_response
from app.api.sessions import get_session
from app.chat.existing import existing_session
from app.chat.stored_turn import StoredTurn, stored_turn
from app.openai import responses
from app.openai.bound import NoticeReply, TurnReply
from app.openai.chat_completions import answer_with
from app.openai.conversations import get_conversation
from app.openai.errors import is_standard
from app.openai.ids import conversation_id_of, response_id_of
from app.openai.item_schemas import item_list
from app.openai.response_schemas import ResponseCreate
from app.openai.schemas import ChatCompletionRequest
from app.schemas.documents import DocumentView
from app.schemas.messages import MessagesView
from app.schemas.transfer import ImportView
from app.storage.documents import Documents
from app.storage.idempotency_tables import IdempotencyKeyRow
from app.storage.lorebooks import SessionLore
from app.storage.messages import Messages
from app.storage.sessions import Sessions
from app.storage.tables import MessageRow, SessionRow


async def replay(request: Request, body: bytes, owner: str, stored: IdempotencyKeyRow) -> Response:
    """Raises NotFoundProblem if what was made has been deleted."""
    service = service_of(request)
    if stored.kind == "turn" and request.url.path == responses.router.prefix:
        return await _response(request, ResponseCreate.model_validate_json(body), service, owner, stored)
    if stored.kind in ("turn", "instructions"):
        return await _reply(request, body, service, owner, stored)
    if is_standard(request.url.path):
        return JSONResponse(
            (await _STANDARD_VIEWS[stored.kind](service, owner, stored)).model_dump(mode="json")
        )
    view = await _VIEWS[stored.kind](service, owner, stored)
    is_read = not isinstance(view, DocumentView) or view.status != "processing"
    return JSONResponse(
        view.model_dump(mode="json"), status_code=HTTPStatus.CREATED if is_read else HTTPStatus.ACCEPTED
    )


async def _response(
    request: Request, asked: ResponseCreate, service: Service, owner: str, stored: IdempotencyKeyRow
) -> Response:
    reply_id, stream = stored.made["reply"], bool(asked.stream)
    if not asked.background:
        turn = await stored_turn(service.database, owner, stored.made["user_message"], reply_id)
        return await responses.respond_again(request, service, owner, turn, stream=stream)
    found = await responses.get_response(response_id_of(reply_id), request, service, owner, stream=stream)
    return found if isinstance(found, Response) else JSONResponse(found.model_dump(mode="json"))


async def _reply(
    request: Request, body: bytes, service: Service, owner: str, stored: IdempotencyKeyRow
) -> Response:
    said: StoredTurn | SessionRow
    if stored.kind == "turn":
        made = stored.made
        said = await stored_turn(service.database, owner, made["user_message"], made["reply"])
    else:
        async with service.database.read() as session:
            said = await existing_session(session, owner, str(stored.session_id))
    if is_standard(request.url.path):
        asked = ChatCompletionRequest.model_validate_json(body)
        asked = asked.model_copy(update={"logprobs": None})  # which are not stored
        reply = TurnReply(said) if isinstance(said, StoredTurn) else NoticeReply(instructions_notice(said))
        return await answer_with(reply, reply.id, request, service, asked)
    stream = bool(json.loads(body).get("stream"))
    if isinstance(said, StoredTurn):
        return await reply_response(request, said, stream=stream)
    return notice_response(said, stream=stream)


async def _session(service: Service, owner: str, stored: IdempotencyKeyRow) -> BaseModel:
    return await get_session(str(stored.session_id), service, owner)


async def _persona(service: Service, owner: str, stored: IdempotencyKeyRow) -> BaseModel:
    return await get_persona(stored.made["id"], service, owner)


async def _document(service: Service, owner: str, stored: IdempotencyKeyRow) -> BaseModel:
    return await get_document(str(stored.document_id), service, owner)


async def _fact(service: Service, owner: str, stored: IdempotencyKeyRow) -> BaseModel:
    return await service.chat.facts.shown(owner, str(stored.session_id), stored.made["id"])


async def _lore_entry(service: Service, owner: str, stored: IdempotencyKeyRow) -> BaseModel:
    async with service.database.read() as session:
        return await entry_view(SessionLore(session, owner), str(stored.session_id), stored.made["id"])


async def _messages(service: Service, owner: str, stored: IdempotencyKeyRow) -> BaseModel:
    rows = await _messages_left(service, owner, stored)
    return MessagesView(data=[message_view(row) for row in rows])


async def _messages_left(service: Service, owner: str, stored: IdempotencyKeyRow) -> list[MessageRow]:
    async with service.database.read() as session:
        found = await Messages(session, owner).get_many(stored.made["ids"])
    rows = [found[each] for each in stored.made["ids"] if each in found]
    return [row for row in rows if row.forgotten_at is None]


async def _conversation(service: Service, owner: str, stored: IdempotencyKeyRow) -> BaseModel:
    return await get_conversation(conversation_id_of(str(stored.session_id)), service, owner)


async def _items(service: Service, owner: str, stored: IdempotencyKeyRow) -> BaseModel:
    return item_list(await _messages_left(service, owner, stored), has_more=False)


async def _import(service: Service, owner: str, stored: IdempotencyKeyRow) -> BaseModel:
    """Of sessions and documents those that are left."""
    made = stored.made["view"]
    async with service.database.read() as session:
        rows = [await Sessions(session, owner).get(each["id"]) for each in made["sessions"]]
        names = await Documents(session, owner).names([each["id"] for each in made["documents"]])
    titles = {row.id: row.title for row in rows if row is not None}
    left = {
        "sessions": [
            each | {"title": titles[each["id"]]} for each in made["sessions"] if each["id"] in titles
        ],
        "documents": [
            each | {"name": names[each["id"]]} for each in made["documents"] if each["id"] in names
        ],
    }
    return ImportView.model_validate(made | left)


_VIEWS: dict[str, Callable[[Service, str, IdempotencyKeyRow], Awaitable[BaseModel]]] = {
    "session": _session,
    "persona": _persona,
    "document": _document,
    "fact": _fact,
    "lore_entry": _lore_entry,
    "messages": _messages,
    "import": _import,
}
_STANDARD_VIEWS: dict[str, Callable[[Service, str, IdempotencyKeyRow], Awaitable[BaseModel]]] = {
    "session": _conversation,
    "messages": _items,
}
