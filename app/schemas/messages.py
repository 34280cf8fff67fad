"""Messages and replies, over the wire."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.fields import StopString, Text, Time, Wire
from app.schemas.sessions import SessionView
from llm.engine.interface import TokenCounts
from memory.messages import Role


class TokenDetails(BaseModel):
    cached_tokens: int = Field(description="Prompt tokens whose keys and values were in the cache.")


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: TokenDetails
    ttft_ms: float = Field(description="From the request's arrival to the first text of the reply.")
    duration_ms: float = Field(description="From the request's arrival to the end of the reply.")
    engine_ms: float | None = Field(
        None,
        description="Of these, how long the model had it, waiting included. Null: from before it was kept.",
    )
    token_counts: TokenCounts = Field(
        "exact", description="`estimated` only if a remote server did not report its own counts."
    )
    seed: int = Field(description="Give it with the same context to get the same reply.")
    dtype: str = Field(
        "float32",
        description="Number format of the weights; `float32+int4`: packed ones for the reply's tokens.",
    )


class SourceView(BaseModel):
    """A place in a document that a reply was given to answer from."""

    document_id: str
    name: str = Field(description="The document's.")
    place: str = Field(description="Where in it, such as `page 3`; empty: nowhere in particular.")


class MessageView(BaseModel):
    id: str
    session_id: str
    parent_id: str | None = Field(description="The message before it; null for the first.")
    alternative: int = Field(description="Counts the messages with that parent, from 0.")
    is_active: bool = Field(description="Whether it is part of the chat as it stands.")
    copied_from: str | None = Field(description="The message that it is a copy of.")
    pinned: bool = Field(False, description="Its turn is always in the window.")
    excluded: bool = Field(False, description="Its turn is never in the window.")
    turn: int
    role: Role
    prefix: str | None = Field(None, description="What was typed before the content: `qa: `.")
    content: str
    sources: list[SourceView] | None = Field(
        None, description="What a reply to a `qa:` question could draw on; null: it is none."
    )
    status: Literal["complete", "generating", "interrupted"]
    finish_reason: Literal["stop", "length", "cancelled", "error"] | None
    model: str | None
    usage: Usage | None
    created_at: datetime


class ReplyCreate(Wire):
    """How a reply is to be generated."""

    stream: bool = Field(False, description="Server-sent events instead of one JSON document.")
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    temperature: float | None = Field(None, ge=0, le=10, allow_inf_nan=False, description="0 is greedy.")
    top_p: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    top_k: int | None = Field(None, ge=0, le=1_000_000, description="0 is all.")
    min_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    repetition_penalty: float | None = Field(None, gt=0, le=10, allow_inf_nan=False)
    frequency_penalty: float = Field(
        0.0, ge=-2, le=2, allow_inf_nan=False, description="For each time that the reply has a token."
    )
    presence_penalty: float = Field(
        0.0, ge=-2, le=2, allow_inf_nan=False, description="Once the reply has a token."
    )
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: list[StopString] = Field([], max_length=16, description="The reply ends before any of these.")
    if_busy: Literal["reject", "wait"] = Field(
        "reject", description="What to do while another message of the session is being answered."
    )


class MessageCreate(ReplyCreate):
    """A user's message, and how the reply to it is to be generated."""

    content: Text
    note: Text | None = Field(
        None,
        description="A note of the system for this reply alone, beside the persona; not stored as a message.",
    )


class MessageEdit(Wire):
    """A message as it should have been."""

    content: Text
    keep_following: bool = Field(
        False, description="Copies of the messages behind it stay behind it; else it becomes the last one."
    )


class ReplyView(BaseModel):
    """The reply, the message it answers, and what it cost."""

    message: MessageView
    user_message: MessageView
    usage: Usage | None = Field(description="Null if the service was killed while it said this.")


class InstructionsView(BaseModel):
    """The answer to `ci:`, which is no message and has no reply."""

    notice: str
    session: SessionView


class AppendedMessage(Wire):
    role: Role
    content: Text
    created_at: Time | None = Field(None, description="When it was said; now, if not given.")


class MessagesAppend(Wire):
    """Messages to store as they are; nothing is generated."""

    messages: list[AppendedMessage] = Field(min_length=1, max_length=1000)
    if_busy: Literal["reject", "wait"] = "reject"


class MessagesView(BaseModel):
    data: list[MessageView]
