"""`/v1/scores`: how likely given replies are, without generating any."""

import asyncio
import math
import time
from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from app.access.spending import open_accounts
from app.api.dependencies import OwnerDep, ServiceDep
from app.api.replies import answer_unless_gone
from app.models.chat import ChatModel
from app.openai.errors import too_long
from app.openai.prompts import chat_prompt
from app.openai.schemas import ChatMessage
from app.schemas.scores import ScoredCandidate, ScoredToken, ScoresCreate, ScoresView
from app.telemetry.tracing import stage
from llm.engine.interface import Engine, ScoreRequest, Scores
from llm.text.chat_format import ChatEncoding
from llm.text.detokenizer import Detokenizer

router = APIRouter(prefix="/v1", tags=["scores"])


@router.post("/scores", response_model=ScoresView)
async def create_scores(
    body: ScoresCreate, request: Request, service: ServiceDep, owner: OwnerDep
) -> Response:
    """The log-probability of every token of each candidate, as the beginning of the assistant's reply to the
    messages. The messages are computed once, and what begins as before comes from the cache; nothing is
    stored. What looks like a control token in a text is plain text.
    """
    return await answer_unless_gone(request, _scores(service.model, owner, body))


async def _scores(model: ChatModel, owner: str, body: ScoresCreate) -> ScoresView:
    request = await asyncio.to_thread(_request, model, owner, body)
    began = time.perf_counter()
    with stage("scores"):
        scores = await _scored(model.engine, request)
    took_ms = (time.perf_counter() - began) * 1000
    candidates = await asyncio.to_thread(_candidates, model.tokenizer, request.candidates, scores)
    return ScoresView(
        candidates=candidates,
        prompt_tokens=len(request.prompt),
        cached_tokens=scores.cached_tokens,
        took_ms=round(took_ms, 1),
    )


async def _scored(engine: Engine, request: ScoreRequest) -> Scores:
    """On the account of the running request: a generation at a time, and tokens that are read."""
    scoring = engine.score(request)
    try:
        tokens = len(request.prompt) + sum(map(len, request.candidates))
        [account] = await open_accounts(1, prompt_tokens=tokens)
    except BaseException:
        scoring.cancel()
        raise
    try:
        return await asyncio.wrap_future(scoring)
    finally:
        account.close()


def _request(model: ChatModel, owner: str, body: ScoresCreate) -> ScoreRequest:
    """Raises InvalidProblem for what does not fit the window, before more is tokenised. Blocks."""
    encoding, window = model.tokenizer, model.context_window
    messages = [ChatMessage(role=each.role, content=each.content) for each in body.messages]
    asked = chat_prompt(encoding, messages, context_window=window, persona_messages=body.persona_messages)
    prompt = asked.token_ids
    candidates: list[tuple[int, ...]] = []
    together = 0
    for index, text in enumerate(body.candidates):
        ids = encoding.encode_text(text)
        if len(prompt) + len(ids) > window:
            raise too_long(
                f"candidates.{index}",
                f"the context window has {window} tokens; the prompt takes {len(prompt)}, and the "
                f"candidate {len(ids)}",
            )
        together += len(ids)
        if together > window:
            raise too_long(
                "candidates",
                f"all together may have as many tokens as the context window, which are {window}; "
                f"the first {index + 1} have {together}",
            )
        candidates.append(ids)
    return ScoreRequest(prompt, tuple(candidates), owner, asked.preamble)


def _candidates(
    encoding: ChatEncoding, candidates: Sequence[Sequence[int]], scores: Scores
) -> list[ScoredCandidate]:
    """Blocks."""
    return [
        ScoredCandidate(
            tokens=[
                ScoredToken(text=text, log_probability=logprob)
                for text, logprob in zip(_texts(encoding, ids), logprobs, strict=True)
            ],
            log_probability=math.fsum(logprobs),
        )
        for ids, logprobs in zip(candidates, scores.logprobs, strict=True)
    ]


def _texts(encoding: ChatEncoding, token_ids: Sequence[int]) -> list[str]:
    detokenizer = Detokenizer(encoding.decode)
    return [detokenizer.add(token_id) for token_id in token_ids]
