"""What every engine offers: submit a request, read a stream of events, cancel; and score candidates.

Local and remote engines stand behind the same interface; nothing here knows how tokens are computed.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal, Protocol

from llm.errors import PromptTooLongError

FinishReason = Literal["stop", "length", "cancelled"]
TokenCounts = Literal["exact", "estimated"]
FailureReason = Literal["error", "timeout", "closed"]


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """How the next token is chosen, in the order in which the settings act.

    `repetition_penalty` (1.0 = off; Keskar et al. 2019, arXiv:1909.05858) acts on the ids of prompt and
    reply; `frequency_penalty` is taken from a logit for each time that the id stands in the reply,
    `presence_penalty` once if it does, as in OpenAI's API; special tokens are excepted from all three.
    Then `temperature` (0 = greedy), `top_k` (0 = all), `top_p` (Holtzman et al. 2019, arXiv:1904.09751)
    and `min_p` (Nguyen et al. 2024, arXiv:2407.01082).
    The same `seed` gives the same text; None draws one, which `Started` reports.
    `logprobs`: how many of the likeliest tokens to report beside each that is chosen; None reports nothing.
    """

    max_tokens: int
    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Preamble:
    """What a prompt begins with before anything is said: a persona, with its examples.

    `tokens`: how many of the first are it; they keep their share of attention, where the engine has one for
    them. Of these the first `public_tokens` are no secret.
    """

    tokens: int = 0
    public_tokens: int = 0


NO_PREAMBLE = Preamble()


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A prompt as token ids, and how to go on from it.

    `owner`: cached keys and values are reused only between requests of the same owner, but for those of
    what is public of the preamble, which all may share.
    `conversation`: names the chat, so that `Engine.forget` can drop what is cached of it.
    `messages`: what the prompt says, as (role, content), for an engine that is given no token ids.
    """

    prompt: tuple[int, ...]
    sampling: SamplingParameters
    owner: str = ""
    conversation: str | None = None
    preamble: Preamble = NO_PREAMBLE
    messages: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """The prompt is done, the first token follows. `cached_tokens` of it were not computed for it.

    `queued_s`: how long the request waited for its turn, in seconds.
    """

    prompt_tokens: int
    cached_tokens: int
    seed: int
    queued_s: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class ChosenToken:
    """A token of a reply with its log-probability, and the likeliest tokens in its place with theirs.

    Log-probabilities are natural, and the model's own: before penalties, temperature and what follows.
    """

    token_id: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """New text: whole characters, and nothing that may still turn out to be part of a stop string.

    `text` may be empty for a token that ends inside a character. Concatenated over a generation,
    the texts are `Finished.text`. `tokens`, where `logprobs` are wanted: those whose text has begun to
    go out with it; over a generation, those of its text.
    """

    text: str
    tokens: tuple[ChosenToken, ...] = ()


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
    """The engine could not go on; `error` says why. `text` and `token_ids` are what there was until then.

    `reason`: "timeout" if its turn did not come in time, "closed" if the engine was closed first.
    """

    error: str
    text: str = ""
    token_ids: tuple[int, ...] = ()
    reason: FailureReason = "error"


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A prompt as token ids, and candidates: token ids of which each may follow it.

    `owner` and `preamble`: as in `GenerationRequest`.
    """

    prompt: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...]
    owner: str = ""
    preamble: Preamble = NO_PREAMBLE

    @property
    def longest_candidate(self) -> int:
        """In tokens."""
        return max(map(len, self.candidates), default=0)


@dataclass(frozen=True, slots=True)
class Scores:
    """For each candidate, the log-probability of each of its tokens given the prompt and those before it.

    They are natural, and the model's own, as those of `ChosenToken`. `cached_tokens` of the prompt were not
    computed for it.
    """

    logprobs: tuple[tuple[float, ...], ...]
    cached_tokens: int


Event = Started | Delta | Finished | Failed
"""A stream is `Started`, any number of `Delta`, then one `Finished` or `Failed`.
A request that ends before its prompt is done gives `Finished` or `Failed` alone."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a client may want to know of the model that an engine runs.

    `token_counts`: `estimated` where a server puts its own chat template around messages.
    `preamble_share`: what of attention the preamble of a prompt keeps; None: what the model gives it.
    """

    name: str
    architecture: str
    parameters: int | None
    context_window: int
    dtype: str
    device: str
    fingerprint: str
    token_counts: TokenCounts = "exact"
    preamble_share: float | None = None
    details: dict[str, str] = field(default_factory=dict)

    def check_length(self, prompt_tokens: int, max_tokens: int = 0) -> None:
        """Raise PromptTooLongError if they pass the context window, ValueError if there is no prompt."""
        if not prompt_tokens:
            raise ValueError("a prompt has at least one token")
        if prompt_tokens + max_tokens > self.context_window:
            raise PromptTooLongError(prompt_tokens, max_tokens, self.context_window)


class Generation(Protocol):
    """A submitted request. Iterate it once, either way; the iteration ends with the last event."""

    @property
    def took_s(self) -> float:
        """Seconds from its submission to its last event by the engine's own clock; so far, until then."""

    def cancel(self) -> None:
        """Ask for the end: no more than one further token is computed. Safe to call at any time."""

    def __aiter__(self) -> AsyncIterator[Event]: ...

    def __iter__(self) -> Iterator[Event]: ...


@dataclass(frozen=True, slots=True)
class EngineStats:
    """How an engine stands now; and since its start, how many tokens of prompts it has found in the cache,
    computed while somebody waited, and prepared, how many of replies it has generated, and how many cached
    blocks it has had to drop.

    `drafted_tokens` of replies were guessed from their context; `accepted_tokens` of those generated took
    no step of their own, being guessed right.
    """

    running: int
    waiting: int
    waiting_tokens: int
    found_tokens: int
    computed_tokens: int
    generated_tokens: int
    kv_blocks: int = 0
    kv_bytes: int = 0
    kv_max_bytes: int = 0
    kv_evicted_blocks: int = 0
    kv_disk_bytes: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    prepared_tokens: int = 0


class Reservation(Protocol):
    """A place in an engine's queue for one request, kept until it is used or released."""

    def submit(self) -> Generation:
        """Use the place. Raises EngineClosedError, never QueueFullError."""

    def release(self) -> None:
        """Give the place back, if it was not used. Idempotent."""


class Engine(Protocol):
    """Runs one model. Every method may be called from any thread."""

    @property
    def model(self) -> ModelInfo: ...

    @property
    def stats(self) -> EngineStats: ...

    @property
    def can_prepare(self) -> bool:
        """Whether `prepare` does anything, so that choosing prefixes for it is not for nothing."""

    def reserve(self, request: GenerationRequest) -> Reservation:
        """Keep a place in the queue, for what must be done before a request is submitted.

        Raises QueueFullError past the bound of the queue, PromptTooLongError if prompt and reply cannot
        fit the context window, UnsupportedByEngineError if it cannot give the log-probabilities that are
        wanted, EngineClosedError after `close`.
        """

    def submit(self, request: GenerationRequest) -> Generation:
        """`reserve` and submit at once. Raises like `reserve`."""

    def prepare(
        self,
        prefixes: Sequence[Sequence[int]],
        owner: str,
        conversation: str,
        preamble: Preamble = NO_PREAMBLE,
    ) -> None:
        """Compute what coming prompts of the conversation begin with when nothing else is to be done.

        The first is of the next prompt; those of later ones come after the next ones of all conversations,
        and only where the cache has room beside what it holds. A later call, or a request of the
        conversation, ends it; what was computed by then is kept. `preamble`: as of a request, of each.
        """

    def cached_tokens(self, prompt: Sequence[int], owner: str, preamble: Preamble = NO_PREAMBLE) -> int:
        """How many leading tokens of `prompt` would not have to be computed if it were submitted now."""

    def forget(self, conversation: str) -> None:
        """Drop all cached keys and values of that conversation."""

    def is_cached(self, conversation: str) -> bool:
        """Whether any keys and values are kept for that conversation."""

    def score(self, request: ScoreRequest) -> Future[Scores]:
        """How likely each candidate is after the prompt, which is computed once. May be cancelled.

        Raises like `reserve`. The result raises whatever keeps the scores from being computed: besides
        faults, QueueTimeoutError, EngineClosedError, and RemoteServerError or UnsupportedByEngineError.
        """

    def close(self) -> None:
        """End what runs, refuse what comes, free the model. Idempotent."""
