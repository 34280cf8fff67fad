"""From a request to what the engine is to generate: the prompt's ids, and how to go on from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from app.errors import InvalidProblem
from app.openai.errors import too_long, unsupported
from app.openai.schemas import ChatMessage, SampledRequest
from app.settings import SamplingDefaults
from llm.engine.interface import Preamble, SamplingParameters
from llm.text.chat_format import ChatEncoding, Role
from memory.messages import number_turns

SEED_MASK = 2**63 - 1
LEAST_TOP_P = 1e-6
"""The API takes 0; the likeliest token is then all there is."""


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """`spoken`: the messages as (role, content), for an engine that is given no token ids."""

    token_ids: tuple[int, ...]
    spoken: tuple[tuple[str, str], ...]
    preamble: Preamble


def chat_prompt(
    encoding: ChatEncoding,
    messages: Sequence[ChatMessage],
    *,
    context_window: int,
    param: str = "messages",
    persona_messages: int | None = None,
) -> ChatPrompt:
    """The messages in the model's chat format, and the beginning of a reply. Blocks.

    Control tokens come from the format alone: what looks like one in a message is plain text.
    `persona_messages`: how many of the first tell the persona; by default a system message that comes first.
    Raises InvalidProblem if they are none that can, or as soon as the context window is passed, so that no
    more is tokenised.
    """
    spoken: list[tuple[Role, str]] = [(_role(message), message.content) for message in messages]
    starts_with_system = spoken[0][0] == "system"
    of_persona = starts_with_system if persona_messages is None else persona_messages
    if of_persona > len(messages):
        raise InvalidProblem.of_field("persona_messages", f"is more than the {len(messages)} that there are")
    if of_persona and not starts_with_system:
        raise InvalidProblem.of_field("persona_messages", "a persona begins with a system message")
    ids = list(encoding.encode_preamble(spoken[0][1] if starts_with_system else None))
    ends = [len(ids)] * starts_with_system
    for role, content in spoken[starts_with_system:]:
        _check_length(param, len(ids), context_window)
        ids += encoding.encode_message(role, content)
        ends.append(len(ids))
    ids += encoding.generation_prompt
    _check_length(param, len(ids), context_window)
    return ChatPrompt(tuple(ids), tuple(spoken), Preamble(ends[of_persona - 1] if of_persona else 0))


def newest_that_fit(encoding: ChatEncoding, messages: Sequence[ChatMessage], room: int) -> list[ChatMessage]:
    """The messages without the oldest turns, as many as pass `room` tokens. Blocks.

    What the system says first stays, and so does the last turn, whether it fits or not.
    """
    starts_with_system = _role(messages[0]) == "system"
    lead, said = list(messages[:starts_with_system]), messages[starts_with_system:]
    turns = zip(number_turns([_role(message) for message in said]), said, strict=True)
    by_turn = [[message for _, message in turn] for _, turn in groupby(turns, key=itemgetter(0))]
    used = len(encoding.encode_preamble(lead[0].content if lead else None)) + len(encoding.generation_prompt)
    first = len(said)
    for of_turn in reversed(by_turn):
        used += sum(len(encoding.encode_message(_role(each), each.content)) for each in of_turn)
        if used > room and first < len(said):
            break
        first -= len(of_turn)
    return [*lead, *said[first:]]


def reply_tokens(
    param: str, asked: int | None, default: int, *, prompt_tokens: int, context_window: int
) -> int:
    """How many tokens the reply may have. Raises InvalidProblem if the window has no room for those asked."""
    room = context_window - prompt_tokens
    wanted = min(default, room) if asked is None else asked
    if not 0 < wanted <= room:
        raise too_long(
            param,
            f"the context window has {context_window} tokens; the prompt takes {prompt_tokens}, and the "
            f"reply may take {max(wanted, 1)}",
        )
    return wanted


def sampling_of(
    body: SampledRequest, defaults: SamplingDefaults, *, max_tokens: int, logprobs: int | None
) -> SamplingParameters:
    """What the request says, and the service's defaults for what it does not."""
    settings = defaults.model_dump()
    settings |= body.model_dump(include=set(settings), exclude_none=True)
    settings["top_p"] = max(settings["top_p"], LEAST_TOP_P)
    return SamplingParameters(
        max_tokens=max_tokens,
        **settings,
        frequency_penalty=body.frequency_penalty or 0.0,
        presence_penalty=body.presence_penalty or 0.0,
        seed=None if body.seed is None else body.seed & SEED_MASK,
        stop=tuple(body.stop or ()),
        logprobs=logprobs,
    )


def check_common(body: SampledRequest) -> None:
    """Refuse what would change the reply and is not to be had. Raises InvalidProblem."""
    if body.logit_bias:
        raise unsupported("logit_bias", "is not supported")
    if body.stream_options is not None and not body.stream:
        raise unsupported("stream_options", "is only for requests with `stream`")


def _role(message: ChatMessage) -> Role:
    return "system" if message.role == "developer" else message.role


def _check_length(param: str, tokens: int, context_window: int) -> None:
    if tokens >= context_window:
        raise too_long(
            param,
            f"the context window has {context_window} tokens, and the messages take at least {tokens}",
        )
