"""`/v1/conversations/{id}/items`: the messages of a chat session, as OpenAI's API has them."""

from fastapi import APIRouter

from app.api.dependencies import OwnerDep, Service, ServiceDep
from app.api.idempotency import IDEMPOTENT, IdempotentRoute
from app.errors import NotFoundProblem
from app.openai.conversation_schemas import ConversationView, ItemsCreate
from app.openai.conversations import conversation_view, existing_conversation
from app.openai.item_schemas import (
    ItemList,
    ItemView,
    Paging,
    item_list,
    item_view,
    no_such_item,
)
from app.storage.messages import MessageDraft, Messages
from app.storage.tables import MessageRow

router = APIRouter(
    prefix="/v1/conversations/{conversation_id}/items", tags=["OpenAI"], route_class=IdempotentRoute
)


@router.post("", dependencies=[IDEMPOTENT])
async def create_items(
    conversation_id: str, body: ItemsCreate, service: ServiceDep, owner: OwnerDep
) -> ItemList:
    """Store messages behind the last one, all or none. Nothing is generated."""
    row = await existing_conversation(service, owner, conversation_id)
    drafts = [MessageDraft(*item.said) for item in body.items]
    rows = await service.chat.append(owner, row.id, drafts, if_busy="reject")
    return item_list(rows, has_more=False)


@router.get("")
async def list_items(
    conversation_id: str,
    service: ServiceDep,
    owner: OwnerDep,
    page: Paging,
) -> ItemList:
    """All that was said, newest first unless told otherwise."""
    row = await existing_conversation(service, owner, conversation_id)
    async with service.database.read() as session:
        messages, behind = Messages(session, owner), None
        if page.after is not None:
            last = await messages.get(page.after)
            if last is None or last.session_id != row.id:
                raise no_such_item(page.after)
            behind = last.position
        rows = await messages.list(
            row.id, after=behind, limit=page.limit + 1, newest_first=page.order == "desc"
        )
    return item_list(rows[: page.limit], has_more=len(rows) > page.limit)


@router.get("/{item_id}")
async def get_item(conversation_id: str, item_id: str, service: ServiceDep, owner: OwnerDep) -> ItemView:
    return item_view(await _existing_item(service, owner, conversation_id, item_id))


@router.delete("/{item_id}")
async def delete_item(
    conversation_id: str, item_id: str, service: ServiceDep, owner: OwnerDep
) -> ConversationView:
    """Delete a message for good, and with a user's message the replies to it. Gives the conversation."""
    item = await _existing_item(service, owner, conversation_id, item_id)
    await service.deleting.message(owner, item.id)
    service.keyed.forget(owner)
    return conversation_view(await existing_conversation(service, owner, conversation_id))


async def _existing_item(service: Service, owner: str, conversation_id: str, item_id: str) -> MessageRow:
    row = await existing_conversation(service, owner, conversation_id)
    async with service.database.read() as session:
        item = await Messages(session, owner).get(item_id)
    if item is None or item.session_id != row.id:
        raise NotFoundProblem(f"the conversation {conversation_id!r} has no item {item_id!r}")
    return item
