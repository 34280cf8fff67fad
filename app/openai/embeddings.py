"""`/v1/embeddings`: vectors of texts, by the sentence-embedding model that recall uses."""

import asyncio
import base64
import sys
from array import array
from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from app.access.spending import spend
from app.api.dependencies import OwnerDep, ServiceDep
from app.api.replies import answer_unless_gone
from app.errors import InvalidProblem
from app.models.embedding import SLICE, SentenceEmbedder
from app.openai.errors import no_such_model, too_long
from app.openai.schemas import Embedding, EmbeddingList, EmbeddingRequest, EmbeddingUsage

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post("/embeddings", response_model=EmbeddingList)
async def create_embeddings(
    body: EmbeddingRequest, request: Request, service: ServiceDep, _owner: OwnerDep
) -> Response:
    """A vector of unit length for each text. A text that is too long for the model is refused, not cut."""
    embedder = service.chat.embedder
    if body.model != embedder.name:
        raise no_such_model(body.model)
    return await answer_unless_gone(request, _embedded(embedder, body))


async def _embedded(embedder: SentenceEmbedder, body: EmbeddingRequest) -> EmbeddingList:
    size = await asyncio.to_thread(lambda: embedder.dimensions)
    if body.dimensions not in (None, size):
        raise InvalidProblem.of_field("dimensions", f"the vectors of {embedder.name} have {size} numbers")
    tokens = 0
    for start in range(0, len(body.input), SLICE):
        counts = await asyncio.to_thread(embedder.count_tokens, body.input[start : start + SLICE])
        for place, count in enumerate(counts, start):
            if count > embedder.max_tokens:
                raise too_long(
                    f"input.{place}", f"has {count} tokens; {embedder.name} takes {embedder.max_tokens}"
                )
        tokens += sum(counts)
    await spend(tokens)
    vectors: list[Sequence[float]] = []
    # Slice by slice, so that a client that goes away ends it.
    for start in range(0, len(body.input), SLICE):
        vectors += await asyncio.to_thread(embedder.embed, body.input[start : start + SLICE])
    as_base64 = body.encoding_format == "base64"
    return EmbeddingList(
        model=embedder.name,
        data=[
            Embedding(index=index, embedding=_base64(vector) if as_base64 else list(vector))
            for index, vector in enumerate(vectors)
        ],
        usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
    )


def _base64(vector: Sequence[float]) -> str:
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
