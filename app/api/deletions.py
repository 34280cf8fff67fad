"""Deleting messages, sessions and users for good, and `/v1/deletions`: the receipts."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from app.api.dependencies import OwnerDep, Service, ServiceDep
from app.deletions import Receipt
from app.schemas.deletions import DeletionView

router = APIRouter(prefix="/v1", tags=["deletions"])

DONE_ALREADY: dict[int | str, dict[str, Any]] = {
    HTTPStatus.OK: {"model": DeletionView, "description": "It was deleted before, and all of it is gone."}
}


@router.delete("/messages/{message_id}", status_code=HTTPStatus.ACCEPTED, responses=DONE_ALREADY)
async def delete_message(
    message_id: str, response: Response, service: ServiceDep, owner: OwnerDep
) -> DeletionView:
    """Delete a message with what has stood in its place, its copies in branches, and the replies to it.

    It is hidden at once; when the receipt says `done`, no copy of it is left.
    """
    return _answer(response, service, owner, await service.deleting.message(owner, message_id))


@router.delete("/sessions/{session_id}", status_code=HTTPStatus.ACCEPTED, responses=DONE_ALREADY)
async def delete_session(
    session_id: str, response: Response, service: ServiceDep, owner: OwnerDep
) -> DeletionView:
    """Delete a session with all that was said in it and made of it. Branches of it are other sessions."""
    return _answer(response, service, owner, await service.deleting.session(owner, session_id))


@router.delete("/users/{user_id:path}", status_code=HTTPStatus.ACCEPTED, responses=DONE_ALREADY)
async def delete_user(
    user_id: Annotated[str, Path(min_length=1, max_length=256)],
    response: Response,
    service: ServiceDep,
    owner: OwnerDep,
) -> DeletionView:
    """Forget a user: all sessions, and whatever was made of them."""
    return _answer(response, service, owner, await service.deleting.user(owner, user_id))


@router.get("/deletions/{deletion_id}")
async def get_deletion(deletion_id: str, service: ServiceDep, owner: OwnerDep) -> DeletionView:
    """The receipt of a deletion; what is left is counted anew."""
    return DeletionView.of(await service.deleting.receipt(owner, deletion_id))


def _answer(response: Response, service: Service, owner: str, receipt: Receipt) -> DeletionView:
    service.keyed.forget(owner)
    view = DeletionView.of(receipt)
    response.headers["Location"] = f"/v1/deletions/{view.id}"
    if view.status == "done":
        response.status_code = HTTPStatus.OK
    return view
