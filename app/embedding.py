"""The sentence-embedding model of this service, loaded when it is first needed."""

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from app.settings import Settings
from llm.catalog import EMBEDDING_MODEL, ensure_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class SentenceEmbedder:
    """all-MiniLM-L6-v2 by sentence-transformers, on the CPU. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._models_folder = settings.models_folder
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """A vector of unit length for each text. Blocks.

        Raises ModelError if the model is not there and cannot be fetched.
        """
        with self._lock:
            vectors = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return vectors.tolist()  # type: ignore[no-any-return]

    @cached_property
    def _model(self) -> "SentenceTransformer":
        # Here, because it takes seconds, and most of what imports this module never embeds anything.
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415
        from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415

        disable_progress_bar()  # type: ignore[no-untyped-call]
        folder = ensure_model(EMBEDDING_MODEL, self._models_folder)
        return SentenceTransformer(str(folder), device="cpu")
