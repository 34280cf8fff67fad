"""Runs `perdure eval recall` on a file."""

import asyncio
import os
from pathlib import Path

from app.models.embedding import SentenceEmbedder
from app.settings import Settings
from evals.recall.locomo import read_locomo
from evals.recall.measure import BUDGETS, CountingOnce, measure
from evals.recall.report import Report
from evals.recall.shelf import temporary_shelves
from llm.catalog import EMBEDDING_MODEL, ensure_tokenizer
from llm.progress import Progress, silent
from llm.text.chat_format import ChatTokenizer
from memory.recall.protocols import Embedder
from memory.recall.ranking import WEIGHTS
from memory.recall.search import BESIDE, HITS, SEEDS


def evaluate(
    data: Path, settings: Settings, embedder: Embedder | None = None, progress: Progress = silent
) -> Report:
    """Index every conversation of the file in a temporary folder, ask its questions, and compare.

    `embedder`: the service's own unless another is given. Raises DataError.
    """
    conversations, skipped = read_locomo(data)
    embedder = embedder or SentenceEmbedder(settings)
    tokenizer = ensure_tokenizer(settings.model, settings.models_folder, progress)
    encoder = CountingOnce(ChatTokenizer(tokenizer))
    answers = []
    with temporary_shelves(embedder) as shelves:
        for conversation in conversations:
            answers += asyncio.run(measure(conversation, shelves, encoder, progress))
    return Report(
        settings={
            "data": data.name,
            "conversations": len(conversations),
            "turns": sum(len(conversation.passages) for conversation in conversations),
            "embedding model": EMBEDDING_MODEL,
            "tokeniser": settings.model,
            "budgets": BUDGETS,
            "hits": HITS,
            "seeds": SEEDS,
            "beside": BESIDE,
            "weights": WEIGHTS,
            "threads": os.cpu_count() or 1,
        },
        skipped=skipped,
        answers=answers,
    )
