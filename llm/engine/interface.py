"""What every engine offers: submit a request, read a stream of events, cancel; and score given ids.

Local and remote engines stand behind the same interface; nothing here knows how tokens are computed.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

FinishReason = Literal["stop", "length", "cancelled"]
TokenCounts = Literal["exact", "estimated"]


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """How the next token is chosen, in the order in which the settings act.

    `repetition_penalty` (1.0 = off; Keskar et al. 2019, arXiv:1909.05858) acts on the ids of prompt and
    reply, special tokens excepted; then `temperature` (0 = greedy), `top_k` (0 = all), `top_p`
    (Holtzman et al. 2019, arXiv:1904.09751) and `min_p` (Nguyen et al. 2024, arXiv:2407.01082).
    The same `seed` gives the same text; None draws one, which `Started` reports.
    """

    max_tokens: int
    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A prompt as token ids, and how to go on from it.

    `owner`: cached keys and values are reused only between requests of the same owner.
    `conversation`: names the chat, so that `Engine.forget` can drop what is cached of it.
    `messages`: what the prompt says, as (role, content), for an engine that is given no token ids.
    """

    prompt: tuple[int, ...]
    sampling: SamplingParameters
    owner: str = ""
    conversation: str | None = None
    messages: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """The request left the queue. `cached_tokens` of its prompt need not be computed."""

    prompt_tokens: int
    cached_tokens: int
    seed: int


@dataclass(frozen=True, slots=True)
class Delta:
    """New text: whole characters, and nothing that may still turn out to be part of a stop string.

    `text` may be empty for a token that ends inside a character. Concatenated over a generation,
    the texts are `Finished.text`.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a reply.

    `token_ids` are the very ids that were generated, without the end-of-turn token; they decode to
    `text`. Where a stop string ended the reply inside a token, that token is replaced by the ids of what
    stands before the stop string. Of a text that could not be tokenised, there are none.
    `completion_tokens` counts every token that was sampled. `prompt_tokens` and `cached_tokens` replace
    those of `Started` where an engine learns them only at the end.
    """

    reason: FinishReason
    text: str
    token_ids: tuple[int, ...]
    completion_tokens: int
    prompt_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The engine could not go on; `error` says why. `text` and `token_ids` are what there was until then."""

    error: str
    text: str = ""
    token_ids: tuple[int, ...] = ()


Event = Started | Delta | Finished | Failed
"""A stream is `Started`, any number of `Delta`, then one `Finished` or `Failed`.
A request cancelled while it waits gives `Finished` alone."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a client may want to know of the model that an engine runs.

    `token_counts`: `estimated` where a server puts its own chat template around messages.
    """

    name: str
    architecture: str
    parameters: int | None
    context_window: int
    dtype: str
    device: str
    fingerprint: str
    token_counts: TokenCounts = "exact"
    details: dict[str, str] = field(default_factory=dict)


class Generation(Protocol):
    """A submitted request. Iterate it once, either way; the iteration ends with the last event."""

    def cancel(self) -> None:
        """Ask for the end: no more than one further token is computed. Safe to call at any time."""

    def __aiter__(self) -> AsyncIterator[Event]: ...

    def __iter__(self) -> Iterator[Event]: ...


class Reservation(Protocol):
    """A place in an engine's queue, kept until it is used or released."""

    def submit(self, request: GenerationRequest) -> Generation:
        """Use the place. Raises PromptTooLongError or EngineClosedError, never QueueFullError."""

    def release(self) -> None:
        """Give the place back, if it was not used. Idempotent."""


class Engine(Protocol):
    """Runs one model. Every method may be called from any thread."""

    @property
    def model(self) -> ModelInfo: ...

    def reserve(self) -> Reservation:
        """Keep a place in the queue, for what must be done before a request is submitted.

        Raises QueueFullError past the bound of the queue, EngineClosedError after `close`.
        """

    def submit(self, request: GenerationRequest) -> Generation:
        """Queue a request.

        Raises QueueFullError past the bound of the queue, PromptTooLongError if prompt and reply cannot
        fit the context window, EngineClosedError after `close`.
        """

    def cached_tokens(self, prompt: Sequence[int], owner: str) -> int:
        """How many leading tokens of `prompt` would not have to be computed if it were submitted now."""

    def forget(self, conversation: str) -> None:
        """Drop all cached keys and values of that conversation."""

    def score(self, token_ids: Sequence[int]) -> list[float]:
        """Log-probability (natural) of each id given those before it, from the second on. Blocks.

        Raises QueueFullError, PromptTooLongError, EngineClosedError, like `submit`.
        """

    def close(self) -> None:
        """End what runs, refuse what comes, free the model. Idempotent."""
