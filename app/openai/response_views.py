"""Stored responses, asked for again: what was kept of the request, with the reply as it stands."""

from typing import Any

from app.models.completions import Tally
from app.openai.ids import response_id_of
from app.openai.item_schemas import item_view
from app.openai.response_schemas import (
    IncompleteDetails,
    ResponseFault,
    ResponseView,
    Status,
    usage_of,
)
from app.openai.stored_responses import StoredResponse
from app.schemas.messages import Usage
from app.storage.response_tables import ResponseRow
from app.storage.tables import MessageRow


def stored_view(stored: StoredResponse) -> ResponseView:
    row, reply, status = stored.row, stored.reply, _status(stored)
    found: dict[str, Any] = {}
    if reply is not None:
        found["output"] = [item_view(reply)]
        found["usage"] = _usage(reply)
    if status == "incomplete":
        found["incomplete_details"] = IncompleteDetails()
    if status == "failed":
        said = "ended before its first word" if reply is None else "was interrupted"
        found["error"] = ResponseFault(code="server_error", message=f"the reply {said}")
    if status == "completed":
        found["completed_at"] = completed_at(row, reply)
    return ResponseView(
        **row.request,
        id=response_id_of(row.message_id),
        created_at=int(row.created_at.timestamp()),
        status=status,
        **found,
    )


def completed_at(row: ResponseRow, reply: MessageRow | None) -> int | None:
    """When the reply was whole, if that is known. Unix time in seconds."""
    if reply is None or not reply.usage:
        return None
    return int(row.created_at.timestamp() + reply.usage["duration_ms"] / 1000)


def _status(stored: StoredResponse) -> Status:
    if stored.is_running:
        return "in_progress"
    row, reply = stored.row, stored.reply
    if reply is not None and reply.status == "complete":
        return "incomplete" if reply.finish_reason == "length" else "completed"
    is_cut = reply is not None and reply.finish_reason == "cancelled"
    return "cancelled" if is_cut or row.cancelled_at is not None else "failed"


def _usage(reply: MessageRow) -> Any:
    if not reply.usage:
        return None
    usage = Usage.model_validate(reply.usage)
    cached = usage.prompt_tokens_details.cached_tokens
    return usage_of(Tally(usage.prompt_tokens, cached, usage.completion_tokens))
