"""`/v1/sessions/{id}/facts`: what is known in a session, seen, added to, corrected and deleted."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.dependencies import OwnerDep, ServiceDep
from app.api.idempotency import IDEMPOTENT, IdempotentRoute
from app.schemas.facts import FactCreate, FactEdit, FactView
from app.schemas.listings import ListView

router = APIRouter(prefix="/v1/sessions", tags=["facts"], route_class=IdempotentRoute)


@router.get("/{session_id}/facts")
async def list_facts(
    session_id: str,
    service: ServiceDep,
    owner: OwnerDep,
    include_superseded: Annotated[
        bool, Query(description="Also those that a newer one took the place of, or ended.")
    ] = False,
) -> ListView[FactView]:
    """List what is known of user and persona, newest first: from this chat, and from the user's others."""
    facts = await service.chat.facts.list(owner, session_id, include_superseded=include_superseded)
    return ListView(data=facts)


@router.post("/{session_id}/facts", status_code=HTTPStatus.CREATED, dependencies=[IDEMPOTENT])
async def add_fact(session_id: str, body: FactCreate, service: ServiceDep, owner: OwnerDep) -> FactView:
    """Put down a fact. It stands in the next window; one that is known already is not doubled."""
    fact = await service.chat.facts.add(owner, session_id, body)
    service.chat.after_change(owner, session_id)
    return fact


@router.put("/{session_id}/facts/{fact_id}")
async def correct_fact(
    session_id: str, fact_id: str, body: FactEdit, service: ServiceDep, owner: OwnerDep
) -> FactView:
    """Correct a fact: another takes its place in the next window. The wrong one is kept as superseded."""
    fact = await service.chat.facts.correct(owner, session_id, fact_id, body.value)
    service.chat.after_change(owner, session_id)
    return fact


@router.delete("/{session_id}/facts/{fact_id}", status_code=HTTPStatus.NO_CONTENT)
async def delete_fact(session_id: str, fact_id: str, service: ServiceDep, owner: OwnerDep) -> Response:
    """Delete a fact for good. It is not extracted from the same words again."""
    await service.chat.facts.remove(owner, session_id, fact_id)
    service.chat.after_change(owner, session_id)
    return Response(status_code=HTTPStatus.NO_CONTENT)
