"""Items of conversations and responses, which are messages, over the wire."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, Field

from app.errors import InvalidProblem
from app.openai.schemas import SaidContent, StandardRequest
from app.storage.tables import MessageRow
from memory.messages import Role


class PageAsked(BaseModel):
    """Which part of a list is wanted."""

    limit: int = Field(20, ge=1, le=100, description="Items on a page.")
    after: str | None = Field(
        None, max_length=64, description="The last item of the page before; none for the first."
    )
    order: Literal["asc", "desc"] = Field("desc", description="`desc`: newest first.")


Paging = Annotated[PageAsked, Query()]


class ItemCreate(StandardRequest):
    """A message. Items of other types are refused: the model calls no tools."""

    type: Literal["message"] | None = None
    role: Literal["system", "developer", "user", "assistant"]
    content: SaidContent

    @property
    def said(self) -> tuple[Role, str]:
        """`developer` is OpenAI's newer word for `system`."""
        return "system" if self.role == "developer" else self.role, self.content


class ItemView(BaseModel):
    """A message."""

    id: str
    type: Literal["message"] = "message"
    role: Role
    status: Literal["completed", "in_progress", "incomplete"]
    content: list[dict[str, Any]] = Field(description="One part: `input_text`, of a reply `output_text`.")


class ItemList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ItemView]
    first_id: str | None
    last_id: str | None
    has_more: bool


def item_view(row: MessageRow) -> ItemView:
    is_whole = row.status == "complete" and row.finish_reason != "length"
    status: Literal["completed", "in_progress", "incomplete"] = "completed" if is_whole else "incomplete"
    content = {"type": "input_text", "text": (row.prefix or "") + row.content}
    if row.role == "assistant":
        content = text_part(row.content)
    return ItemView.model_validate(
        {
            "id": row.id,
            "role": row.role,
            "status": "in_progress" if row.status == "generating" else status,
            "content": [content],
        }
    )


def text_part(text: str, logprobs: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """What a reply says, as the part that it has."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


def item_list(rows: Sequence[MessageRow], *, has_more: bool) -> ItemList:
    data = [item_view(row) for row in rows]
    return ItemList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=has_more,
    )


def no_such_item(item_id: str) -> InvalidProblem:
    """Of an `after` that names nothing in the list."""
    return InvalidProblem.of_field("after", f"there is no item {item_id!r} in this list")
