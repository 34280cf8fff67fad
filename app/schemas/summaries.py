"""The summaries of a session, over the wire."""

from datetime import datetime

from pydantic import BaseModel, Field

from app.fields import Text, Wire


class SummaryView(BaseModel):
    """The turns before `through_turn`, in short."""

    id: str
    session_id: str
    through_turn: int
    author: str = Field(description="A model's name, `extractive`, or `user` for one that was edited.")
    text: str
    tokens: int = Field(description="What it takes of a context window.")
    in_use: bool = Field(description="Whether it stands in the session's next context.")
    created_at: datetime


class SummaryEdit(Wire):
    text: Text
