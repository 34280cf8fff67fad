"""The vectors of single words that an embedding model begins with."""

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from app.models import word_vectors
from app.models.embedding import SentenceEmbedder
from app.models.word_vectors import WordTable


@pytest.fixture(scope="module")
def model(embedder: SentenceEmbedder) -> SentenceTransformer:
    return embedder._model


def test_words_of_a_kind_are_near_and_others_are_not(embedder: SentenceEmbedder) -> None:
    kids, children, table = embedder.embed_words(["kids", "children", "table"])
    assert kids @ children > 0.5
    assert abs(kids @ table) < 0.2


def test_vectors_have_unit_length_and_words_without_a_piece_are_zeros(model: SentenceTransformer) -> None:
    found = WordTable(model).of(["beagle", "", "우리는", "beagle"])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 0, 1, 1], atol=1e-5)
    assert (found[0] == found[3]).all()
    assert WordTable(model).of([]).shape == (0, found.shape[1])


def test_a_full_table_gives_the_same_vectors(
    model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [f"word{number}" for number in range(12)]
    expected = WordTable(model).of(asked)
    monkeypatch.setattr(word_vectors, "REMEMBERED", 5)
    table = WordTable(model)
    for first in range(8):
        np.testing.assert_array_equal(table.of(asked[first : first + 3]), expected[first : first + 3])
    np.testing.assert_array_equal(table.of(asked), expected)
    np.testing.assert_array_equal(table.of(asked[::-1]), expected[::-1])


def test_a_model_that_begins_otherwise_has_none(model: SentenceTransformer) -> None:
    static = SentenceTransformer(
        modules=[StaticEmbedding(model.tokenizer.backend_tokenizer, embedding_dim=4)]
    )
    assert not WordTable(static).of(["beagle", "dog"]).any()
