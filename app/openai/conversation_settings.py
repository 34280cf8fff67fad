"""What the metadata of a conversation say of the chat session that it is."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.api.dependencies import Service, user_asked_for
from app.chat.creation import NewSession, new_session
from app.errors import InvalidProblem
from app.storage.idempotency import IdempotencyKeys
from app.storage.messages import MessageDraft
from app.storage.tables import SessionRow
from memory.errors import InvalidParametersError, UnknownStrategyError
from memory.persona import ChatUser
from memory.strategies import parse_strategy

STRATEGY, PERSONA, USER = "strategy", "persona", "user"


def memory_of(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """The memory settings that are named, if any. Raises InvalidProblem."""
    named = metadata.get(STRATEGY)
    if named is None:
        return None
    try:
        settings = json.loads(named) if named.lstrip().startswith("{") else {"strategy": named}
        return parse_strategy(settings).model_dump(mode="json")
    except (ValueError, RecursionError, UnknownStrategyError, InvalidParametersError) as error:
        raise InvalidProblem.of_field(f"metadata.{STRATEGY}", str(error)) from error


async def create_session(
    service: Service, owner: str, metadata: Mapping[str, str], said: Sequence[MessageDraft], *, is_all: bool
) -> SessionRow:
    """A new session as the metadata have it, in which that was said. Raises a problem.

    `is_all`: whether it is all that the request at hand makes, to be noted under its idempotency key.
    """
    memory = memory_of(metadata) or parse_strategy(service.settings.memory).model_dump(mode="json")
    user = ChatUser(user_asked_for(owner, _user_id(metadata)))
    persona_id = metadata.get(PERSONA)
    new = NewSession(
        memory=memory, user=user, persona_id=persona_id, client_metadata=dict(metadata), said=said
    )
    try:
        await service.chat.changes.check_fits(owner, persona_id, user)
        async with service.database.write() as session:
            row = await new_session(session, owner, new)
            if is_all:
                await IdempotencyKeys(session, owner).keep("session", session_id=row.id)
    except InvalidProblem as error:
        raise of_metadata(error) from error
    if said:
        service.chat.after_import(owner, [row.id], [])
    return row


def changes_of(row: SessionRow, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What other metadata change in a session. Raises InvalidProblem."""
    changes: dict[str, Any] = {"client_metadata": dict(metadata)}
    if (memory := memory_of(metadata)) is not None:
        changes["memory"] = memory
    if (persona_id := metadata.get(PERSONA)) is not None:
        changes["persona_id"] = persona_id
    if USER in metadata and _user_id(metadata) != row.user_id:
        raise InvalidProblem.of_field(f"metadata.{USER}", "a conversation keeps the user that it began with")
    return changes


def of_metadata(problem: InvalidProblem) -> InvalidProblem:
    """The problem with a session's persona, under the name that it has here."""
    said = problem.extra["errors"][0]["problem"]
    return InvalidProblem.of_field(f"metadata.{PERSONA}", said)


def _user_id(metadata: Mapping[str, str]) -> str | None:
    user_id = metadata.get(USER)
    if user_id is not None and not (user_id.strip() and len(user_id) <= 256):
        raise InvalidProblem.of_field(f"metadata.{USER}", "must have 1 to 256 characters, not all blank")
    return user_id
