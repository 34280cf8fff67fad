"""`/v1/conversations`: chat sessions, as OpenAI's API has them."""

from fastapi import APIRouter

from app.api.dependencies import OwnerDep, Service, ServiceDep
from app.api.idempotency import IDEMPOTENT, IdempotentRoute
from app.errors import InvalidProblem
from app.openai.conversation_schemas import (
    ConversationCreate,
    ConversationDeleted,
    ConversationUpdate,
    ConversationView,
)
from app.openai.conversation_settings import changes_of, create_session, of_metadata
from app.openai.ids import conversation_id_of, no_such_conversation, session_id_of
from app.storage.messages import MessageDraft
from app.storage.sessions import Sessions
from app.storage.tables import SessionRow

router = APIRouter(prefix="/v1/conversations", tags=["OpenAI"], route_class=IdempotentRoute)


@router.post("", dependencies=[IDEMPOTENT])
async def create_conversation(
    service: ServiceDep, owner: OwnerDep, body: ConversationCreate | None = None
) -> ConversationView:
    """Create a conversation, with items that it begins with. A persona's greeting comes before them."""
    body = body or ConversationCreate()
    said = [MessageDraft(*item.said) for item in body.items or ()]
    row = await create_session(service, owner, body.metadata or {}, said, is_all=True)
    return conversation_view(row)


@router.get("/{conversation_id}")
async def get_conversation(conversation_id: str, service: ServiceDep, owner: OwnerDep) -> ConversationView:
    return conversation_view(await existing_conversation(service, owner, conversation_id))


@router.post("/{conversation_id}")
async def update_conversation(
    conversation_id: str, body: ConversationUpdate, service: ServiceDep, owner: OwnerDep
) -> ConversationView:
    """Change the metadata, and with them strategy or persona, from the next response on."""
    row = await existing_conversation(service, owner, conversation_id)
    changes = changes_of(row, body.metadata or {})
    try:
        row = await service.chat.change(owner, row.id, changes)
    except InvalidProblem as error:
        raise of_metadata(error) from error
    return conversation_view(row)


@router.delete("/{conversation_id}")
async def delete_conversation(
    conversation_id: str, service: ServiceDep, owner: OwnerDep
) -> ConversationDeleted:
    """Delete a conversation with its items, for good."""
    row = await existing_conversation(service, owner, conversation_id)
    await service.deleting.session(owner, row.id)
    service.keyed.forget(owner)
    return ConversationDeleted(id=conversation_id)


async def existing_conversation(service: Service, owner: str, conversation_id: str) -> SessionRow:
    """Its session. Raises NotFoundProblem."""
    async with service.database.read() as session:
        row = await Sessions(session, owner).get(session_id_of(conversation_id))
    if row is None:
        raise no_such_conversation(conversation_id)
    return row


def conversation_view(row: SessionRow) -> ConversationView:
    return ConversationView(
        id=conversation_id_of(row.id),
        created_at=int(row.created_at.timestamp()),
        metadata=row.client_metadata,
    )
