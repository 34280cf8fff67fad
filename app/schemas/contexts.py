"""What is in a context window, over the wire."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from llm.engine.interface import TokenCounts
from memory.context import SegmentKind
from memory.messages import Role


class SegmentMessage(BaseModel):
    id: str | None
    role: Role
    content: str


class RecalledPassageView(BaseModel):
    """What was recalled: a message, or a piece of a long one, or of a document."""

    source: str = Field(description="The chat session or the document that it is from.")
    number: int = Field(description="Where it stands there; what follows each other has the next number.")
    message_id: str | None
    turn: int | None
    speaker: str
    said_at: datetime | None
    citation: str = Field(description="Where in a document it is.")
    score: float
    why: str
    tokens: int = Field(description="About what it takes of the segment.")


class SegmentView(BaseModel):
    kind: SegmentKind
    turn: int | None
    tokens: int
    cached_tokens: int
    reason: str
    message_ids: list[str]
    messages: list[SegmentMessage] = Field(description="What the segment says, for a model of your own.")
    summary_id: str | None = Field(None, description="Of a summary.")
    through_turn: int | None = Field(None, description="A summary stands for the turns before this one.")
    fact_ids: list[str] = Field([], description="Of facts, in their order.")
    passages: list[RecalledPassageView] = Field([], description="What it tells, if it is what was recalled.")
    since_turn: int | None = Field(
        None, description="Of a persona with the chat's own instructions: since when it has them."
    )


class LeftOutView(BaseModel):
    first_turn: int
    last_turn: int
    tokens: int
    reason: str


class RecallReportView(BaseModel):
    scope: Literal["chat", "persona", "user", "documents"]
    behind: int = Field(description="How many messages of that scope could not be found yet.")
    degraded: str | None = Field(description="Why not everything was searched; null: it was.")


class PersonaReference(BaseModel):
    id: str
    revision: int


class ContextView(BaseModel):
    """What a context window holds. `prompt_tokens + reply_tokens <= context_window`, always."""

    session_id: str
    message_id: str | None = Field(description="The reply it was for; null for a dry run.")
    model: str
    strategy: dict[str, Any]
    persona: PersonaReference | None
    persona_since_turn: int | None = Field(
        None, description="The first turn with this persona; null with none, or if it was not kept then."
    )
    context_window: int
    prompt_tokens: int
    token_counts: TokenCounts = Field(
        "exact", description="`estimated` if a remote server puts its own chat template around the messages."
    )
    reply_tokens: int = Field(description="Kept free for the reply.")
    cached_tokens: int
    recall: RecallReportView | None = Field(
        None, description="How recall was asked; null: it was not, or there was no message to ask for."
    )
    turns: list[int] = Field(description="Numbers of the stored turns in the window.")
    segments: list[SegmentView]
    left_out: list[LeftOutView]
