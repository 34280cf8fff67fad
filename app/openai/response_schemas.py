"""Responses, over the wire."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from app.fields import MOST_MESSAGES, Metadata, Name, PlainText
from app.models.completions import Tally
from app.openai.item_schemas import ItemCreate, ItemView
from app.openai.schemas import CachedTokens, StandardRequest

MOST_OUTPUT_TOKENS = 1_000_000
Status = Literal["completed", "queued", "in_progress", "incomplete", "cancelled", "failed"]
Truncation = Literal["auto", "disabled"]


def _as_items(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


def _as_id(value: Any) -> Any:
    return value["id"] if isinstance(value, Mapping) and "id" in value else value


class ResponseCreate(StandardRequest):
    model: Name | None = None
    input: Annotated[
        list[ItemCreate] | None,
        Field(
            min_length=1,
            max_length=MOST_MESSAGES,
            description="The last item is the user's. Not needed in a conversation that ends with one.",
        ),
        BeforeValidator(_as_items, json_schema_input_type=str | list[dict[str, Any]] | None),
    ] = None
    instructions: PlainText | None = Field(
        None, description="For this response alone: where a persona would stand, or beside the one there is."
    )
    conversation: Annotated[
        Name | None, BeforeValidator(_as_id, json_schema_input_type=str | dict[str, str] | None)
    ] = None
    previous_response_id: Name | None = None
    store: bool | None = None
    truncation: Truncation | None = Field(
        None,
        description="`auto`: the memory strategy chooses what is in the window. `disabled`: all is, or the "
        "request is refused; the default, unless the conversation's metadata name a strategy.",
    )
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    max_output_tokens: int | None = Field(None, ge=1, le=MOST_OUTPUT_TOKENS)
    metadata: Metadata | None = None
    stream: bool | None = None
    include: list[str] | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    background: bool | None = Field(
        None, description="Answer at once, and generate the reply whether anybody waits for it or not."
    )
    tool_choice: str | dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None


class OutputDetails(BaseModel):
    reasoning_tokens: int = 0


class ResponseUsage(BaseModel):
    input_tokens: int
    input_tokens_details: CachedTokens
    output_tokens: int
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


class ResponseFault(BaseModel):
    code: str
    message: str


class IncompleteDetails(BaseModel):
    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ConversationReference(BaseModel):
    id: str


class ResponseEcho(BaseModel):
    """What of the request a response repeats, defaults filled in."""

    model: str
    instructions: str | None
    metadata: dict[str, str]
    max_output_tokens: int | None
    temperature: float
    top_p: float
    top_logprobs: int
    truncation: Truncation
    previous_response_id: str | None
    conversation: ConversationReference | None
    store: bool
    background: bool = False


class ResponseView(ResponseEcho):
    """A reply. With `stream`, server-sent events instead, of which the last one has it."""

    id: str
    object: Literal["response"] = "response"
    created_at: int = Field(description="Unix time in seconds.")
    completed_at: int | None = None
    status: Status
    error: ResponseFault | None = None
    incomplete_details: IncompleteDetails | None = None
    output: list[ItemView] = []
    usage: ResponseUsage | None = None
    parallel_tool_calls: bool = True
    reasoning: dict[str, None] = {"effort": None, "summary": None}
    text: dict[str, Any] = {"format": {"type": "text"}}
    tool_choice: Literal["auto"] = "auto"
    tools: list[dict[str, Any]] = []


class ResponseDeleted(BaseModel):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


def usage_of(tally: Tally) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=tally.prompt_tokens,
        input_tokens_details=CachedTokens(cached_tokens=tally.cached_tokens),
        output_tokens=tally.completion_tokens,
        total_tokens=tally.prompt_tokens + tally.completion_tokens,
    )
