"""Vectors of single words: those a sentence-embedding model begins with, before it reads them together."""

import copy
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

REMEMBERED = 20_000
"""Words; one of 384 numbers takes 1.5 KB."""


class WordTable:
    """The vectors of the words that a model was asked for. Thread-safe."""

    def __init__(self, model: "SentenceTransformer") -> None:
        # One of its own: the model's is at work in other threads.
        self._tokenizer = copy.deepcopy(model.tokenizer)
        self._pieces = _pieces_of(model)
        self._mean = self._pieces.mean(0) if len(self._pieces) else 0
        self._lock = threading.Lock()
        self._places: dict[str, int] = {}
        self._vectors = np.empty((REMEMBERED, self._pieces.shape[1]), dtype=np.float32)

    def of(self, words: Sequence[str]) -> NDArray[np.float32]:
        """The mean of a word's pieces, of unit length [words, width]; zeros for one that has no piece.

        That of all pieces is taken from it: they have a direction in common, which makes any two alike.
        """
        with self._lock:
            new = list(dict.fromkeys(word for word in words if word not in self._places))
            if len(self._places) + len(new) > len(self._vectors):
                self._places.clear()
                new = list(dict.fromkeys(words))
                if len(new) > len(self._vectors):
                    self._vectors = np.empty((len(new), self._pieces.shape[1]), dtype=np.float32)
            for word, vector in zip(new, self._made(new), strict=True):
                self._vectors[len(self._places)] = vector
                self._places[word] = len(self._places)
            return self._vectors[[self._places[word] for word in words]]

    def _made(self, words: Sequence[str]) -> NDArray[np.float32]:
        made = np.zeros((len(words), self._pieces.shape[1]), dtype=np.float32)
        if not words or not len(self._pieces):
            return made
        ids = self._tokenizer(list(words), add_special_tokens=False, verbose=False)["input_ids"]
        for row, pieces in zip(made, ids, strict=True):
            if pieces:
                row[:] = self._pieces[pieces].mean(0) - self._mean
        lengths = np.linalg.norm(made, axis=1, keepdims=True)
        np.divide(made, lengths, out=made, where=lengths > 0)
        return made


def _pieces_of(model: "SentenceTransformer") -> NDArray[np.float32]:
    """The vector of each piece of a word [pieces, width]; none of a model that begins otherwise."""
    transformer: Any = getattr(model[0], "auto_model", None)
    if transformer is None:
        return np.zeros((0, 1), dtype=np.float32)
    pieces: NDArray[np.float32] = transformer.get_input_embeddings().weight.detach().float().numpy()
    return pieces
