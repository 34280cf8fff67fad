"""What OpenAI's API takes and gives. What it has and we do not know is ignored; null is the default."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.fields import MOST_MESSAGES, Name, PersonaMessages, PlainText, StopString, Text
from llm.engine.interface import TokenCounts

MOST_CHOICES = 16
MOST_PROMPTS = 64
MOST_INPUTS = 2048


class StandardRequest(BaseModel):
    """Base of what comes in: unknown fields are ignored, types are taken as they are."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


def _joined_parts(content: Any) -> Any:
    """A message's content as one text. Parts that are no text are refused: the model has no use for them."""
    if not isinstance(content, list):
        return content
    texts: list[str] = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind not in ("text", "input_text", "output_text"):
            raise ValueError(f"part {index} has the type {kind!r}: the model takes parts of text only")
        if not isinstance(part.get("text"), str):
            raise ValueError(f"part {index} has no text")
        texts.append(part["text"])
    return "".join(texts)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


TextContent = Annotated[
    PlainText, BeforeValidator(_joined_parts, json_schema_input_type=str | list[dict[str, Any]])
]
SaidContent = Annotated[
    Text, BeforeValidator(_joined_parts, json_schema_input_type=str | list[dict[str, Any]])
]
"""The same of what is stored, which is never blank."""
Stop = Annotated[
    list[StopString] | None,
    Field(max_length=16),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str] | None),
]


class ChatMessage(StandardRequest):
    """`developer` is OpenAI's newer word for `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: TextContent


class StreamOptions(StandardRequest):
    include_usage: bool | None = None


class SampledRequest(StandardRequest):
    """How a reply is generated; the last three are ours, and other servers' too."""

    model: Name
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=MOST_CHOICES)
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    frequency_penalty: float | None = Field(None, ge=-2, le=2, allow_inf_nan=False)
    presence_penalty: float | None = Field(None, ge=-2, le=2, allow_inf_nan=False)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Stop = None
    logit_bias: dict[str, float] | None = None
    top_k: int | None = Field(None, ge=0, le=1_000_000)
    min_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    repetition_penalty: float | None = Field(None, gt=0, le=10, allow_inf_nan=False)

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatCompletionRequest(SampledRequest):
    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    metadata: dict[str, str] | None = Field(
        None, description="`session_id`: the chat session in which the last message is said."
    )
    persona_messages: PersonaMessages = None
    tool_choice: str | dict[str, Any] | None = None
    function_call: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[str] | None = None


def _as_prompts(value: Any) -> Any:
    is_one = isinstance(value, str) or (isinstance(value, list) and value and isinstance(value[0], int))
    return [value] if is_one else value


TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=1_000_000)]


class CompletionRequest(SampledRequest):
    prompt: Annotated[
        list[PlainText] | list[TokenIds],
        Field(min_length=1, max_length=MOST_PROMPTS),
        BeforeValidator(_as_prompts, json_schema_input_type=str | list[str] | list[int] | list[list[int]]),
    ]
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool | None = None
    best_of: int | None = Field(None, ge=1)
    suffix: str | None = None


class EmbeddingRequest(StandardRequest):
    model: Name
    input: Annotated[
        list[Annotated[PlainText, Field(min_length=1)]],
        Field(min_length=1, max_length=MOST_INPUTS),
        BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
    ]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1)


class CachedTokens(BaseModel):
    cached_tokens: int = Field(description="Prompt tokens that were not computed for this reply.")


class CompletionUsage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class ReplyMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    index: int
    message: ReplyMessage
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(BaseModel):
    """With `stream`, server-sent events of `chat.completion.chunk` instead, and `[DONE]` after the last."""

    id: str
    object: Literal["chat.completion"]
    created: int = Field(description="Unix time in seconds.")
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: CompletionUsage


class TextChoice(BaseModel):
    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class TextCompletion(BaseModel):
    """With `stream`, server-sent events of the same kind, and `[DONE]` after the last."""

    id: str
    object: Literal["text_completion"]
    created: int = Field(description="Unix time in seconds.")
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: CompletionUsage


class StandardModel(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int = Field(0, description="Unix time in seconds; 0: not known.")
    owned_by: str = "perdure"


class ModelView(StandardModel):
    """The model that replies."""

    type: Literal["chat"] = "chat"
    architecture: str
    parameters: int | None = Field(description="Null if a remote server does not say.")
    context_window: int
    token_counts: TokenCounts
    dtype: str
    device: str
    fingerprint: str
    persona_share: float | None = Field(
        description="Of what was said, what a persona counts as. Null: it fades."
    )


class EmbeddingModelView(StandardModel):
    """The model that embeds."""

    type: Literal["embedding"] = "embedding"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelView | EmbeddingModelView]


class EmbeddingUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class Embedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(description="Numbers, or little-endian float32 in base64.")


class EmbeddingList(BaseModel):
    object: Literal["list"] = "list"
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage
