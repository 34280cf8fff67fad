"""`/v1/chat/completions`: a reply to the messages sent, or to the last of them in a chat session."""

import asyncio
import time
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from app.api.dependencies import OwnerDep, Service, ServiceDep
from app.api.idempotency import IDEMPOTENT, IdempotentRoute
from app.api.replies import events_address
from app.errors import InvalidProblem
from app.fields import Name
from app.ids import new_id
from app.models.completions import Completion
from app.openai.answering import STREAM_RESPONSES, Answer, ChatForm, Reply
from app.openai.bound import TurnReply, start_bound
from app.openai.errors import no_such_model, unsupported
from app.openai.logprobs import TokenTexts
from app.openai.prompts import chat_prompt, check_common, reply_tokens, sampling_of
from app.openai.schemas import ChatCompletion, ChatCompletionRequest
from llm.engine.interface import GenerationRequest

router = APIRouter(prefix="/v1", tags=["OpenAI"], route_class=IdempotentRoute)

SESSION_HEADER = "X-Perdure-Session"


@router.post(
    "/chat/completions", response_model=ChatCompletion, responses=STREAM_RESPONSES, dependencies=[IDEMPOTENT]
)
async def create_chat_completion(
    body: ChatCompletionRequest,
    request: Request,
    service: ServiceDep,
    owner: OwnerDep,
    session: Annotated[
        Name | None, Header(alias=SESSION_HEADER, description="The chat session that it belongs to.")
    ] = None,
) -> Response:
    """The reply to a conversation that the client keeps; or, in a chat session that the header or
    `metadata.session_id` names, to its last message: then the session's memory and persona make the window,
    and message and reply are stored.
    """
    arrived_at = time.perf_counter()
    _check(body, service)
    session_id = _session_id(body, session)
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    if session_id is None:
        reply = await _start(body, service, owner, logprobs)
        return await answer_with(reply, new_id("chatcmpl"), request, service, body)
    bound = await start_bound(
        request, service, owner, session_id, body, logprobs=logprobs, arrived_at=arrived_at
    )
    if isinstance(bound, Response):
        return bound
    return await answer_with(bound, bound.id, request, service, body)


async def answer_with(
    reply: Reply, reply_id: str, request: Request, service: Service, body: ChatCompletionRequest
) -> Response:
    """The answer that has this reply."""
    texts = TokenTexts(service.model.tokenizer) if body.logprobs else None
    address = events_address(reply_id) if isinstance(reply, TurnReply) else None
    answer = Answer(reply_id, reply, ChatForm(body.n or 1, texts), service.model.engine.model, address)
    if body.stream:
        return answer.stream(include_usage=body.wants_usage)
    return await answer.whole(request)


async def _start(
    body: ChatCompletionRequest, service: Service, owner: str, logprobs: int | None
) -> Completion:
    model = service.model
    prompt = await asyncio.to_thread(
        chat_prompt,
        model.tokenizer,
        body.messages,
        context_window=model.context_window,
        persona_messages=body.persona_messages,
    )
    max_tokens = reply_tokens(
        "max_completion_tokens" if body.max_completion_tokens else "max_tokens",
        body.max_completion_tokens or body.max_tokens,
        service.settings.reply_tokens,
        prompt_tokens=len(prompt.token_ids),
        context_window=model.context_window,
    )
    sampling = sampling_of(body, service.settings.sampling, max_tokens=max_tokens, logprobs=logprobs)
    return await service.completions.start(
        [
            GenerationRequest(
                prompt=prompt.token_ids,
                # Choices of one seed would all be the same.
                sampling=sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + index),
                owner=owner,
                preamble=prompt.preamble,
                messages=prompt.spoken,
            )
            for index in range(body.n or 1)
        ]
    )


def _check(body: ChatCompletionRequest, service: Service) -> None:
    """Refuse what would change the reply and is not to be had. Raises a problem.

    Tools may be offered: the model then always chooses to answer in words.
    """
    check_common(body)
    if body.model != service.model.engine.model.name:
        raise no_such_model(body.model)
    for name, choice in (("tool_choice", body.tool_choice), ("function_call", body.function_call)):
        if choice not in (None, "none", "auto"):
            raise unsupported(name, "the model calls no tools; it can only be offered them")
    if body.response_format is not None and body.response_format.get("type") != "text":
        raise unsupported("response_format", "the model answers in plain text only")
    if body.modalities is not None and body.modalities != ["text"]:
        raise unsupported("modalities", "the model answers in text only")
    if body.top_logprobs is not None and not body.logprobs:
        raise unsupported("top_logprobs", "is only for requests with `logprobs`")


def _session_id(body: ChatCompletionRequest, header: str | None) -> str | None:
    named = (body.metadata or {}).get("session_id")
    if header is not None and named is not None and header != named:
        raise InvalidProblem.of_field(
            "metadata.session_id", f"is another session than the one in the header {SESSION_HEADER}"
        )
    return header if named is None else named
