"""`/v1/search` and `/v1/recall`: searching what was said, and how the indexes stand."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from app.api.dependencies import OwnerDep, Service, ServiceDep, user_asked_for
from app.schemas.recall import (
    RecallStatusView,
    ReindexCreate,
    SearchCreate,
    SearchHit,
    SearchView,
    ShelfView,
)
from app.storage.passages import StoredPassages
from memory.recall.protocols import Filter
from memory.recall.ranking import Ranked

router = APIRouter(prefix="/v1", tags=["recall"])


@router.post("/search")
async def search(body: SearchCreate, service: ServiceDep, owner: OwnerDep) -> SearchView:
    """Find what was said, or what is in documents: by words and by sense, best first, with why."""
    recall, where = service.chat.recall, body.where
    filters = Filter(
        source=where.session_id,
        speaker=where.speaker,
        role=where.role,
        since=where.since,
        until=where.until,
    )
    if body.scope == "documents":
        user_id = user_asked_for(owner, body.user_id)
        if body.session_id is not None:
            user_id = (await service.chat.states.row(owner, body.session_id)).user_id
        found = await recall.of_documents(owner, user_id, body.query, limit=body.limit)
    elif body.session_id is not None:
        found = await recall.of_session(
            owner, body.session_id, body.query, body.scope or "persona", where=filters, limit=body.limit
        )
    else:
        found = await recall.of_user(
            owner,
            user_asked_for(owner, body.user_id) or "",
            body.persona_id,
            body.query,
            where=filters,
            limit=body.limit,
        )
    return SearchView(
        data=[_hit(each) for each in found.ranked], behind=found.behind, degraded=found.degraded
    )


@router.get("/recall/status")
async def recall_status(
    service: ServiceDep, owner: OwnerDep, user_id: Annotated[str | None, Query(max_length=256)] = None
) -> RecallStatusView:
    """How far what was said is indexed, shelf by shelf; of one user, if asked to."""
    return await _status(service, owner, user_asked_for(owner, user_id))


@router.post("/recall/reindex", status_code=HTTPStatus.ACCEPTED)
async def reindex(body: ReindexCreate, service: ServiceDep, owner: OwnerDep) -> RecallStatusView:
    """Drop the indexes and make them anew in the background. Until then, less is found."""
    await service.chat.recall.reindex(owner, body.user_id)
    return await _status(service, owner, body.user_id)


async def _status(service: Service, owner: str, user_id: str | None) -> RecallStatusView:
    # In this order: a message that is shelved in between counts twice rather than not at all.
    async with service.database.read() as session:
        waiting = await StoredPassages(session, owner).waiting(user_id)
    shelves = await service.chat.recall.status(owner, user_id)
    return RecallStatusView(
        shelves=[
            ShelfView(
                id=each.shelf.id,
                user_id=each.shelf.user_id or None,
                persona_id=each.shelf.persona_id or None,
                session_id=each.shelf.session_id or None,
                passages=each.passages,
                behind=each.behind,
            )
            for each in shelves
        ],
        passages=sum(each.passages for each in shelves),
        waiting=waiting,
        behind=sum(each.behind for each in shelves),
        degraded=service.chat.recall.faults,
        embedding_model=service.settings.embedding_model,
    )


def _hit(ranked: Ranked) -> SearchHit:
    passage = ranked.passage
    return SearchHit(
        text=passage.text,
        message_id=passage.message_id,
        session_id=passage.key.source if passage.message_id else None,
        document_id=None if passage.message_id else passage.key.source,
        citation=passage.citation,
        turn=passage.turn,
        role=passage.role,
        speaker=passage.speaker,
        said_at=passage.said_at,
        score=round(ranked.score, 6),
        why=ranked.why,
    )
