"""What every route needs: the parts of the running service, and the owner that the request speaks for."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, cast

from fastapi import Depends, Query, Request

from app.chat.history_edits import HistoryEdits
from app.chat.service import Chat
from app.deletions import Deleting
from app.documents.library import Library
from app.errors import InvalidProblem
from app.models.chat import ChatModel
from app.models.completions import Completions
from app.readiness import Readiness
from app.settings import Settings
from app.storage.database import Database
from app.telemetry.metrics import Metrics
from app.transfer.imports import Imports

LOCAL_OWNER = "local"
"""Whoever reaches the service on this machine."""


@dataclass(frozen=True, slots=True)
class Service:
    """The running parts, made by the lifespan of the app."""

    settings: Settings
    database: Database
    model: ChatModel
    chat: Chat
    completions: Completions
    history: HistoryEdits
    imports: Imports
    library: Library
    deleting: Deleting
    metrics: Metrics
    readiness: Readiness


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


def _owner() -> str:
    return LOCAL_OWNER


ServiceDep = Annotated[Service, Depends(_service)]
OwnerDep = Annotated[str, Depends(_owner)]
Limit = Annotated[int, Query(ge=1, le=200, description="Items on a page.")]
Cursor = Annotated[
    str | None, Query(max_length=512, description="`next_cursor` of the page before; none for the first.")
]


def encode_cursor(*parts: str | int) -> str:
    """An opaque cursor that the `decode_` functions read."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def decode_listing_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    """Time of creation and id of the last item of the page before."""
    if cursor is None:
        return None
    try:
        created_at, row_id = _decode(cursor)
        return datetime.fromisoformat(created_at).astimezone(UTC), str(row_id)
    except (ValueError, TypeError, OverflowError):
        raise _not_a_cursor() from None


def decode_position_cursor(cursor: str | None) -> int | None:
    """Position of the last message of the page before."""
    if cursor is None:
        return None
    try:
        [position] = _decode(cursor)
        if isinstance(position, int) and 0 <= position < 2**31:
            return position
    except (ValueError, TypeError):
        pass
    raise _not_a_cursor()


def _decode(cursor: str) -> Any:
    try:
        return json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except RecursionError as error:
        raise ValueError from error


def _not_a_cursor() -> InvalidProblem:
    return InvalidProblem.of_field("cursor", "not a cursor that this listing gave out")
