"""`/v1/sessions/{id}/summaries`: the running summary of a session, seen and edited."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.dependencies import OwnerDep, ServiceDep
from app.schemas.listings import Page
from app.schemas.summaries import SummaryEdit, SummaryView

router = APIRouter(prefix="/v1/sessions", tags=["summaries"])


@router.get("/{session_id}/summaries")
async def list_summaries(
    session_id: str,
    service: ServiceDep,
    owner: OwnerDep,
    limit: Annotated[int, Query(ge=1, le=200, description="How many, newest first.")] = 20,
) -> Page[SummaryView]:
    """List the summaries of the session's memory, newest first; each goes on from the one before."""
    return Page(data=await service.chat.summaries.list(owner, session_id, limit), next_cursor=None)


@router.put("/{session_id}/summary")
async def edit_summary(
    session_id: str, body: SummaryEdit, service: ServiceDep, owner: OwnerDep
) -> SummaryView:
    """Replace the text of the summary in use. Later summaries go on from it; the earlier text is kept."""
    edited = await service.chat.summaries.edit(owner, session_id, body.text)
    service.chat.after_change(owner, session_id)
    return edited
