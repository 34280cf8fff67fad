"""Packed layers give the vectors that sentence-transformers gives, for each model that they are made of."""

from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from app.models.embedding import SentenceEmbedder, load_sentence_transformer
from app.models.packed_layers import PackedLayer, pack_layers

TEXTS = ["", "I have a dog.", "우리는 오월에 바다에 갔다", "word " * 400, "What did we do then?", "é" * 90]
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 90,
}


@pytest.fixture(scope="module")
def unpacked(embedder: SentenceEmbedder, models_folder: Path) -> SentenceTransformer:
    return load_sentence_transformer(embedder.name, models_folder)


@pytest.mark.parametrize("texts", [*([text] for text in TEXTS), TEXTS], ids=lambda texts: str(len(texts)))
def test_the_packaged_model_gives_the_vectors_of_the_library(
    texts: list[str], embedder: SentenceEmbedder, unpacked: SentenceTransformer
) -> None:
    expected = torch.as_tensor(unpacked.encode(texts, normalize_embeddings=True))
    torch.testing.assert_close(torch.tensor(embedder.embed(texts)), expected, atol=1e-5, rtol=0)


def test_the_packaged_model_is_packed_whole(embedder: SentenceEmbedder) -> None:
    embedder.embed(["loads it"])
    assert len(_packed_layers(embedder._model)) == 6


@pytest.mark.parametrize(
    "model",
    [
        BertModel(BertConfig(intermediate_size=64, **SMALL)),
        XLMRobertaModel(XLMRobertaConfig(intermediate_size=64, pad_token_id=1, **SMALL)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_padded_texts_get_the_same_states(model: nn.Module) -> None:
    expected, mask = _states(model)
    pack_layers(model)
    assert len(_packed_layers(model)) == 2
    found, _ = _states(model)
    torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "model",
    [
        BertModel(BertConfig(hidden_act="relu", intermediate_size=64, **SMALL)),
        BertModel(BertConfig(is_decoder=True, intermediate_size=64, **SMALL)),
        BertModel(BertConfig(intermediate_size=64, **SMALL)).bfloat16(),
        DistilBertModel(DistilBertConfig(dim=32, hidden_dim=64, n_layers=2, n_heads=4, vocab_size=90)),
    ],
    ids=["another activation", "a decoder", "another precision", "another family"],
)
def test_what_cannot_be_packed_stays_as_it_is(model: nn.Module) -> None:
    expected, _ = _states(model)
    pack_layers(model)
    assert not _packed_layers(model)
    assert torch.equal(_states(model)[0], expected)


def _packed_layers(model: nn.Module) -> list[PackedLayer]:
    return [part for part in model.modules() if isinstance(part, PackedLayer)]


def _states(model: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """The last states [2, 9, width] of a text of nine tokens and one of four, and which are of tokens."""
    ids = torch.arange(4, 22).view(2, 9)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    with torch.inference_mode():
        return model.eval()(input_ids=ids, attention_mask=mask).last_hidden_state, mask.bool()
