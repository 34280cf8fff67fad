"""What goes over the wire, in and out."""

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from app.fields import Name, StableText, StopString, Text, Time, Wire
from llm.engine.interface import TokenCounts
from memory.context import SegmentKind
from memory.messages import Role

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """A page of a listing. Pass `next_cursor` as `cursor` for the next one; null: this is the last."""

    data: list[Item]
    next_cursor: str | None


class SessionCreate(Wire):
    persona_id: Name | None = None
    user_id: Name | None = None
    user_name: Name | None = Field(
        None, description="What the persona calls the user; none: the persona's own `user_name`."
    )
    greeting: int = Field(
        0, ge=0, le=100, description="0: the persona's greeting; n: its n-th alternate greeting."
    )
    title: Name | None = None
    memory: dict[str, Any] | None = Field(
        None, description='`{"strategy": name, ...parameters}`; see `GET /v1/strategies`.'
    )
    prefixes: bool = Field(False, description="Whether `system:`, `ci:` and `qa:` begin a message.")


class SessionUpdate(Wire):
    """Fields that are not given stay as they are. A new memory takes effect with the next turn."""

    persona_id: Name | None = None
    user_name: Name | None = None
    title: Name | None = None
    memory: dict[str, Any] = Field({})
    prefixes: bool = False
    instructions: StableText | None = Field(
        None, description="In the place of the persona's, in this session; null: those of the persona."
    )


class BranchedFrom(BaseModel):
    session_id: str
    message_id: str


class SessionView(BaseModel):
    id: str
    persona_id: str | None
    user_id: str | None
    user_name: str | None
    title: str | None
    memory: dict[str, Any]
    prefixes: bool
    instructions: str | None = Field(description="In the place of the persona's; null: those.")
    branched_from: BranchedFrom | None = Field(description="Where its first messages were copied from.")
    created_at: datetime
    updated_at: datetime


class TokenDetails(BaseModel):
    cached_tokens: int = Field(description="Prompt tokens whose keys and values were in the cache.")


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: TokenDetails
    ttft_ms: float = Field(description="From the request's arrival to the first text of the reply.")
    duration_ms: float = Field(description="From the request's arrival to the end of the reply.")
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


class SessionBranch(Wire):
    """Where a chat branches: the new session has all messages up to this one."""

    message_id: Name
    title: Name | None = Field(None, description="The session's own, if not given.")


class SessionForget(Wire):
    from_message_id: Name = Field(description="This message and all behind it are forgotten.")


class ForgottenView(BaseModel):
    messages: int = Field(description="How many are forgotten, alternatives among them.")


class ReplyView(BaseModel):
    """The reply, the message it answers, and what it cost."""

    message: MessageView
    user_message: MessageView
    usage: Usage


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


class StrategyView(BaseModel):
    name: str
    description: str
    parameters: dict[str, Any] = Field(description="JSON schema.")
    aliases: list[str] = Field(description="LangChain's names for it; their parameters are mapped.")


class ListView(BaseModel, Generic[Item]):
    data: list[Item]


class ProblemView(BaseModel):
    """A problem document (RFC 9457). Further members carry the numbers; see docs/errors.md."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = Field(
        [], description='`{"field": ..., "problem": ...}` for each field that is wrong, where fields are.'
    )


class HealthView(BaseModel):
    status: Literal["ok"]
