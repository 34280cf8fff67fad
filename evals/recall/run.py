"""Runs `perdure eval recall` on a file."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from app.models.embedding import SentenceEmbedder
from app.settings import Settings
from evals.harness.counting import CountingOnce
from evals.harness.service import EvaluatedService
from evals.recall.locomo import Conversation, read_locomo
from evals.recall.measure import BUDGETS, measure
from evals.recall.report import Report
from evals.recall.searches import Search, served_searches, shelf_searches
from evals.recall.shelf import temporary_shelves
from llm.catalog import ensure_tokenizer
from llm.progress import Progress, silent
from llm.text.chat_format import ChatTokenizer
from memory.recall.protocols import Embedder
from memory.recall.ranking import WEIGHTS
from memory.recall.search import BESIDE, HITS, SEEDS

Searches = Callable[[Conversation], dict[str, Search]]
"""What a conversation is searched by, once it is stored there."""


def evaluate(
    data: Path,
    settings: Settings,
    embedder: Embedder | None = None,
    progress: Progress = silent,
    service: EvaluatedService | None = None,
) -> Report:
    """Store every conversation of the file, ask its questions, and compare what is found.

    In a service if one is given, else in indexes in a temporary folder, with the service's own `embedder`
    unless another is given. Raises DataError; with a service, like its methods.
    """
    conversations, skipped = read_locomo(data)
    tokenizer = ensure_tokenizer(settings.model, settings.models_folder, progress)
    encoder = CountingOnce(ChatTokenizer(tokenizer))
    answers = []
    with _searches(settings, embedder, progress, service) as searches:
        for conversation in conversations:
            found = measure(conversation, searches(conversation), encoder, progress)
            answers += asyncio.run(found)
    told = {"hits": HITS, "seeds": SEEDS, "beside": BESIDE, "weights": WEIGHTS}
    return Report(
        settings={
            "data": data.name,
            "conversations": len(conversations),
            "turns": sum(len(conversation.passages) for conversation in conversations),
            "embedding model": service.models[1]["id"] if service else settings.embedding_model,
            "tokeniser": settings.model,
            "budgets": BUDGETS,
            **({} if service else told),
            "threads": os.cpu_count() or 1,
        },
        skipped=skipped,
        answers=answers,
    )


@contextmanager
def _searches(
    settings: Settings, embedder: Embedder | None, progress: Progress, service: EvaluatedService | None
) -> Iterator[Searches]:
    if service is not None:
        yield partial(served_searches, service=service)
    else:
        with temporary_shelves(embedder or SentenceEmbedder(settings)) as shelves:
            yield partial(shelf_searches, shelves=shelves, progress=progress)
