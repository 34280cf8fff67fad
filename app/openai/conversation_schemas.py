"""Conversations, over the wire."""

from typing import Literal

from pydantic import BaseModel, Field

from app.fields import Metadata
from app.openai.item_schemas import ItemCreate
from app.openai.schemas import StandardRequest

MOST_ITEMS = 20
"""The API's own."""


class ConversationCreate(StandardRequest):
    items: list[ItemCreate] | None = Field(None, max_length=MOST_ITEMS)
    metadata: Metadata | None = Field(
        None,
        description="`strategy`: the name of a memory strategy, or its settings in JSON; `persona`: the id "
        "of a persona; `user`: whose conversation it is. Anything else is kept as it is.",
    )


class ConversationUpdate(StandardRequest):
    metadata: Metadata | None = Field(
        description="In the place of what there was. `strategy` and `persona` change the conversation from "
        "its next response on; where they are not named, it keeps those that it has."
    )


class ItemsCreate(StandardRequest):
    items: list[ItemCreate] = Field(min_length=1, max_length=MOST_ITEMS)


class ConversationView(BaseModel):
    """A chat session: that of the same id with `ses_` instead of `conv_`."""

    id: str
    object: Literal["conversation"] = "conversation"
    created_at: int = Field(description="Unix time in seconds.")
    metadata: dict[str, str]


class ConversationDeleted(BaseModel):
    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: Literal[True] = True
