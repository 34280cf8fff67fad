"""The sentence-embedding model of this service, loaded when it is first needed."""

import asyncio
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog
from numpy.typing import NDArray

from app.models.loading import folder_or_id, loading
from app.models.word_vectors import WordTable
from app.settings import Settings
from llm.catalog import ensure_model
from llm.errors import ModelError
from llm.packages import PACKAGED_MODELS, is_fetched

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = structlog.get_logger()

SLICE = 32
"""Texts that are embedded before another caller gets its turn."""


class SentenceEmbedder:
    """A model of sentence-transformers, on the CPU. Thread-safe: callers take turns, slice by slice."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.embedding_model
        self._models_folder = settings.models_folder
        self._next = threading.Lock()
        self._in_use = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """A vector of unit length for each text. Blocks.

        Raises ModelError if the model is not there and cannot be fetched.
        """
        # Texts of about one length stand together, so that few are padded.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        vectors: list[Sequence[float]] = [()] * len(texts)
        for start in range(0, len(order), SLICE):
            some = order[start : start + SLICE]
            with self._turn():
                made = self._model.encode(
                    [texts[index] for index in some], normalize_embeddings=True, show_progress_bar=False
                )
            for index, vector in zip(some, made.tolist(), strict=True):
                vectors[index] = vector
        return vectors

    def embed_words(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of unit length of single words, out of context [words, width]. Raises like `embed`."""
        return self._words.of(words)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Word pieces of each text, with what the model puts around them. Blocks. Raises like `embed`."""
        with self._turn():
            encoded = self._model.tokenizer(list(texts), truncation=False, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

    @property
    def max_tokens(self) -> int:
        """Word pieces that the model reads; what comes behind is cut. Blocks. Raises like `embed`."""
        with self._turn():
            return int(self._model.max_seq_length or sys.maxsize)

    @property
    def dimensions(self) -> int:
        """Numbers of a vector. Blocks. Raises like `embed`."""
        with self._turn():
            return int(self._model.get_embedding_dimension() or 0)

    @property
    def is_fetched(self) -> bool:
        """Whether the model can be loaded without a download."""
        packaged = PACKAGED_MODELS.get(self.name)
        if packaged is not None:
            return is_fetched(packaged, self._models_folder / self.name)
        cached = self._models_folder / "hub" / f"models--{self.name.replace('/', '--')}"
        return Path(self.name).expanduser().exists() or cached.exists()

    @property
    def is_loaded(self) -> bool:
        return "_model" in vars(self)

    async def warm_up(self) -> None:
        """Load the model in the background if it is there, so that the first search need not wait for it."""
        if self.is_loaded or not self.is_fetched:
            return
        try:
            await asyncio.to_thread(self.embed, ["Is it warm?"])
            await asyncio.to_thread(self.embed_words, ["warm"])
        except ModelError as error:
            log.warning("the embedding model could not be loaded", reason=str(error))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Whoever waits for the model gets it before whoever has just had it."""
        with self._next:
            self._in_use.acquire()
        try:
            yield
        finally:
            self._in_use.release()

    @cached_property
    def _model(self) -> "SentenceTransformer":
        from app.models.onnx_bert import run_in_onnx  # noqa: PLC0415

        model = load_sentence_transformer(self.name, self._models_folder)
        run_in_onnx(model)
        return model

    @cached_property
    def _words(self) -> WordTable:
        return WordTable(self._model)


def load_sentence_transformer(name: str, models_folder: Path) -> "SentenceTransformer":
    """A model as sentence-transformers loads it. Blocks.

    Raises ModelError if it is not there and cannot be fetched.
    """
    # Here, because it takes seconds, and most of what imports this module never embeds anything.
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415

    disable_progress_bar()  # type: ignore[no-untyped-call]
    place = str(ensure_model(name, models_folder)) if name in PACKAGED_MODELS else folder_or_id(name)
    with loading(f"the embedding model {name!r}"):
        return SentenceTransformer(place, device="cpu", cache_folder=str(models_folder / "hub"))
