"""What goes over the wire of search, and of how recall stands."""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from app.fields import Name, Text, Time, Wire
from memory.strategies.recalling import RecallScope


class SearchWhere(Wire):
    """What passages must be like to be found; nothing is asked for by null."""

    session_id: Name | None = None
    speaker: Name | None = Field(None, description="A display name; case does not matter.")
    role: Literal["user", "assistant"] | None = None
    since: Time | None = Field(None, description="Said then or later.")
    until: Time | None = Field(None, description="Said before then.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("until must be later than since")
        return self


class SearchCreate(Wire):
    """A search of what a session may recall, of what a user has said and been told, or of documents."""

    query: Text
    session_id: Name | None = None
    scope: RecallScope | Literal["documents"] | None = Field(
        None,
        description="Of a session: itself (`chat`), what its user and persona said (`persona`, the default), "
        "or all of its user (`user`). Without a user it is always the session itself. `documents`: "
        "everybody's documents, and those of the user or the session's user.",
    )
    user_id: Name | None = None
    persona_id: Name | None = Field(None, description="Of a user: what was said with that persona.")
    where: SearchWhere = SearchWhere()
    limit: int = Field(20, ge=1, le=100)

    @model_validator(mode="after")
    def _of_one(self) -> Self:
        if self.scope == "documents":
            if self.session_id is not None and self.user_id is not None:
                raise ValueError("give session_id or user_id, not both")
            if self.persona_id is not None or self.where != SearchWhere():
                raise ValueError("persona_id and where go with what was said, not with documents")
            return self
        if (self.session_id is None) == (self.user_id is None):
            raise ValueError("give either session_id or user_id")
        if self.persona_id is not None and self.user_id is None:
            raise ValueError("persona_id goes with user_id")
        if self.scope is not None and self.session_id is None:
            raise ValueError("scope goes with session_id")
        return self


class SearchHit(BaseModel):
    text: str
    message_id: str | None
    session_id: str | None = Field(description="Of what was said.")
    document_id: str | None = Field(description="Of what is in a document.")
    citation: str = Field(description="Where in a document it is.")
    turn: int | None
    role: str | None
    speaker: str
    said_at: datetime | None
    score: float
    why: str


class SearchView(BaseModel):
    """What was found, best first."""

    data: list[SearchHit]
    behind: int = Field(description="Messages that might be found too, but are not indexed yet.")
    degraded: str | None = Field(description="Why only a part of the indexes was asked; null: all were.")


class ReindexCreate(Wire):
    user_id: Name | None = Field(None, description="Of this user only; null: all.")


class ShelfView(BaseModel):
    id: str
    user_id: str | None
    persona_id: str | None
    session_id: str | None
    passages: int
    behind: int = Field(description="Messages that are not in both indexes yet.")


class RecallStatusView(BaseModel):
    """How far the indexes of recall have come."""

    shelves: list[ShelfView]
    passages: int
    waiting: int = Field(description="Messages that are not on a shelf yet.")
    behind: int = Field(description="Messages that are on a shelf, and not in both indexes yet.")
    degraded: str | None = Field(description="What keeps an index from being filled; null: nothing.")
    embedding_model: str
