"""A cross-encoder that reads the question with each of the best passages, where the user has named one.

It costs tens of milliseconds or more for a search, so it has a time limit; past it, or if it fails, the order
stays as it was.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import structlog

from app.models.loading import folder_or_id, loading
from app.settings import Settings
from llm.errors import ModelNotFoundError
from memory.recall.ranking import Ranked, indexed_text

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

log = structlog.get_logger()

RERANKED = 20
"""Passages that are read with the question: the best by the ranking."""
LONGEST_S = 1.0
"""After this a search goes on without it; a turn waits two seconds for all of recall."""


class Reranker:
    """A cross-encoder of sentence-transformers by folder or hub id, on the CPU; loaded when first used."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._name = name
        self._cache = settings.models_folder / "hub"
        # One thread: what waits behind a slow search is taken back when its time is up.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reranker")

    async def reranked(self, question: str, ranked: Sequence[Ranked]) -> tuple[Sequence[Ranked], str | None]:
        """The passages with the best of them in the order that the model gives them, and no fault; or as they
        were, and why."""
        best = ranked[:RERANKED]
        if not best:
            return ranked, None
        texts = [indexed_text(each.passage) for each in best]
        try:
            async with asyncio.timeout(LONGEST_S):
                loop = asyncio.get_running_loop()
                scores = await loop.run_in_executor(self._thread, self.scores, question, texts)
        except TimeoutError:
            return ranked, f"not re-ranked: the cross-encoder took more than {LONGEST_S:g} s"
        except Exception as error:
            log.warning("the cross-encoder failed", reason=str(error))
            return ranked, f"not re-ranked: {error}"
        order = sorted(range(len(best)), key=lambda place: (-scores[place], place))
        # Each place keeps its score: those of the model are on another scale than what follows.
        first = [replace(best[place], score=at.score) for place, at in zip(order, best, strict=True)]
        return [*first, *ranked[RERANKED:]], None

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the question, by the model. Blocks. Raises ModelNotFoundError."""
        pairs = [(question, text) for text in texts]
        found: list[float] = self._model.predict(pairs, show_progress_bar=False).tolist()
        return found

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    @cached_property
    def _model(self) -> "CrossEncoder":
        # Here, because it takes seconds, and most services have none.
        from sentence_transformers import CrossEncoder  # noqa: PLC0415

        from app.models.onnx_bert import run_in_onnx  # noqa: PLC0415

        with loading(f"the cross-encoder {self._name!r}"):
            model: CrossEncoder = CrossEncoder(
                folder_or_id(self._name), device="cpu", cache_folder=str(self._cache)
            )
        if model.num_labels != 1:
            raise ModelNotFoundError(
                f"{self._name!r} is no cross-encoder for search: it gives {model.num_labels} scores, not one"
            )
        run_in_onnx(model)
        return model
