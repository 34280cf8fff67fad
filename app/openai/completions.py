"""`/v1/completions`: texts that are gone on with as they are, without a chat template."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from app.api.dependencies import OwnerDep, Service, ServiceDep
from app.errors import InvalidProblem
from app.ids import new_id
from app.openai.answering import STREAM_RESPONSES, Answer, TextForm
from app.openai.errors import no_such_model, unsupported
from app.openai.logprobs import TokenTexts
from app.openai.prompts import check_common, reply_tokens, sampling_of
from app.openai.schemas import MOST_CHOICES, CompletionRequest, TextCompletion
from llm.engine.interface import GenerationRequest
from llm.text.chat_format import ChatEncoding

router = APIRouter(prefix="/v1", tags=["OpenAI"])

DEFAULT_MAX_TOKENS = 16
"""The API's own."""


@router.post("/completions", response_model=TextCompletion, responses=STREAM_RESPONSES)
async def create_completion(
    body: CompletionRequest, request: Request, service: ServiceDep, owner: OwnerDep
) -> Response:
    """How one or more texts go on. What looks like a control token in a text is plain text; prompts of
    token ids are taken as they are.
    """
    _check(body, service)
    model, choices = service.model, body.n or 1
    prompts = await asyncio.to_thread(_prompts, model.tokenizer, body.prompt, model.context_window)
    requests = [
        _request(body, service, owner, prompt, place) for prompt in prompts for place in range(choices)
    ]
    echoes = [""] * len(requests)
    if body.echo:
        echoes = [_text(model.tokenizer, prompt) for prompt in body.prompt for _ in range(choices)]
    texts = TokenTexts(model.tokenizer) if body.logprobs is not None else None
    reply = await service.completions.start(requests)
    answer = Answer(new_id("cmpl"), reply, TextForm(echoes, texts), model.engine.model)
    if body.stream:
        return answer.stream(include_usage=body.wants_usage)
    return await answer.whole(request)


def _request(
    body: CompletionRequest, service: Service, owner: str, prompt: tuple[int, ...], place: int
) -> GenerationRequest:
    max_tokens = reply_tokens(
        "max_tokens",
        body.max_tokens or DEFAULT_MAX_TOKENS,
        DEFAULT_MAX_TOKENS,
        prompt_tokens=len(prompt),
        context_window=service.model.context_window,
    )
    sampling = sampling_of(body, service.settings.sampling, max_tokens=max_tokens, logprobs=body.logprobs)
    if sampling.seed is not None:
        sampling = replace(sampling, seed=sampling.seed + place)
    return GenerationRequest(prompt=prompt, sampling=sampling, owner=owner)


def _prompts(
    encoding: ChatEncoding, prompts: Sequence[str | list[int]], context_window: int
) -> list[tuple[int, ...]]:
    """The ids of each. Blocks. Raises InvalidProblem."""
    encoded: list[tuple[int, ...]] = []
    for index, prompt in enumerate(prompts):
        if isinstance(prompt, str):
            ids = (*encoding.text_start, *encoding.encode_text(prompt))
        else:
            ids = tuple(prompt)
            size = encoding.vocabulary_size
            if size is not None and max(ids) >= size:
                raise InvalidProblem.of_field(
                    f"prompt.{index}", f"token {max(ids)} is not in the vocabulary of {size} tokens"
                )
        if not ids:
            raise InvalidProblem.of_field(f"prompt.{index}", "a prompt has at least one token")
        reply_tokens(f"prompt.{index}", None, 1, prompt_tokens=len(ids), context_window=context_window)
        encoded.append(ids)
    return encoded


def _text(encoding: ChatEncoding, prompt: str | list[int]) -> str:
    return prompt if isinstance(prompt, str) else encoding.decode(prompt)


def _check(body: CompletionRequest, service: Service) -> None:
    """Refuse what would change the answer and is not to be had. Raises a problem."""
    check_common(body)
    if body.model != service.model.engine.model.name:
        raise no_such_model(body.model)
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise unsupported("best_of", "all choices are given: it can only be `n`")
    if body.suffix:
        raise unsupported("suffix", "the model only goes on at the end of a text")
    if body.echo and body.logprobs is not None:
        raise unsupported("echo", "log-probabilities are given for the reply alone, not for the prompt")
    if len(body.prompt) * (body.n or 1) > MOST_CHOICES * 4:
        raise InvalidProblem.of_field("n", f"at most {MOST_CHOICES * 4} choices in one request")
