"""What every route needs: the parts of the running service, and the owner that the request speaks for.

What routes depend on are coroutines, though they await nothing: FastAPI has a thread call what is none, and
the request waits for it.
"""

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol, TypeVar, cast

from fastapi import Depends, Query, Request

from app.access.principal import Principal
from app.api.keyed_requests import KeyedRequests
from app.chat.history_edits import HistoryEdits
from app.chat.service import Chat
from app.deletions import Deleting
from app.documents.library import Library
from app.errors import InvalidProblem, NotFoundProblem
from app.models.chat import ChatModel
from app.models.completions import Completions
from app.readiness import Readiness
from app.settings import Settings
from app.storage.database import Database
from app.storage.repository import UserOfOwner
from app.telemetry.metrics import Metrics
from app.transfer.imports import Imports


@dataclass(frozen=True, slots=True)
class Service:
    """The running parts, made by `app.running`."""

    settings: Settings
    database: Database
    model: ChatModel
    chat: Chat
    completions: Completions
    history: HistoryEdits
    imports: Imports
    library: Library
    deleting: Deleting
    keyed: KeyedRequests
    metrics: Metrics
    readiness: Readiness


def service_of(request: Request) -> Service:
    return cast(Service, request.app.state.service)


def owner_of(request: Request) -> str:
    """The owner that a request speaks for."""
    principal: Principal = request.state.principal
    return principal.owner


def user_asked_for(owner: str, user_id: str | None) -> str | None:
    """The user that a request means: the one of its key, where that is bound to one.

    Raises NotFoundProblem if it names another.
    """
    if not isinstance(owner, UserOfOwner):
        return user_id
    if user_id not in (None, owner.user_id):
        raise NotFoundProblem(f"user {user_id} does not exist")
    return owner.user_id


async def said_once(request: Request) -> None:
    """Raise InvalidProblem for a parameter that the address has twice: one of the two would not count."""
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if times > 1:
            raise InvalidProblem.of_field(name, "is there more than once")


async def _service(request: Request) -> Service:
    return service_of(request)


async def _owner(request: Request) -> str:
    return owner_of(request)


ServiceDep = Annotated[Service, Depends(_service)]
OwnerDep = Annotated[str, Depends(_owner)]
Limit = Annotated[int, Query(ge=1, le=200, description="Items on a page.")]
Cursor = Annotated[
    str | None, Query(max_length=512, description="`next_cursor` of the page before; none for the first.")
]


class Listed(Protocol):
    """What is listed by the time at which it was made."""

    @property
    def id(self) -> str: ...

    @property
    def created_at(self) -> datetime: ...


Item = TypeVar("Item")
_ID = re.compile(r"\w+", re.ASCII)


def listing_place(item: Listed) -> tuple[str, str]:
    """What `decode_listing_cursor` gives the listing that goes on behind the item."""
    return item.created_at.isoformat(), item.id


def cut_page(
    rows: Sequence[Item], limit: int, place: Callable[[Item], tuple[str | int, ...]]
) -> tuple[Sequence[Item], str | None]:
    """The page of rows of which one more than `limit` was asked for, and the cursor of the next, if any.

    `place`: by what the next page is found behind an item.
    """
    page = rows[:limit]
    if len(rows) <= limit:
        return page, None
    return page, base64.urlsafe_b64encode(json.dumps(place(page[-1])).encode()).decode()


def decode_listing_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    """Time of creation and id of the last item of the page before."""
    if cursor is None:
        return None
    try:
        created_at, row_id = _decode(cursor)
        if _ID.fullmatch(row_id):
            return datetime.fromisoformat(created_at).astimezone(UTC), row_id
    except (ValueError, TypeError, OverflowError):
        pass
    raise _not_a_cursor()


def decode_position_cursor(cursor: str | None) -> int | None:
    """Position of the last message of the page before."""
    if cursor is None:
        return None
    try:
        [position] = _decode(cursor)
        if type(position) is int and 0 <= position < 2**31:  # true is no position
            return position
    except (ValueError, TypeError):
        pass
    raise _not_a_cursor()


def _decode(cursor: str) -> list[Any]:
    """Raises ValueError."""
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except RecursionError as error:
        raise ValueError from error
    if not isinstance(place, list):
        raise ValueError("a cursor is a list")
    return place


def _not_a_cursor() -> InvalidProblem:
    return InvalidProblem.of_field("cursor", "not a cursor that this listing gave out")
