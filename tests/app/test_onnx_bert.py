"""A model run by ONNX Runtime gives the vectors that sentence-transformers gives for it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
)

from app.models.embedding import SentenceEmbedder, load_sentence_transformer
from app.models.onnx_bert import OnnxBert, run_in_onnx

TEXTS = ["", "I have a dog.", "우리는 오월에 바다에 갔다", "word " * 400, "What did we do then?", "é" * 90]
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 90,
    "num_labels": 1,
}


@pytest.fixture(scope="module")
def plain(embedder: SentenceEmbedder, models_folder: Path) -> SentenceTransformer:
    return load_sentence_transformer(embedder.name, models_folder)


@pytest.mark.parametrize("texts", [*([text] for text in TEXTS), TEXTS], ids=lambda texts: str(len(texts)))
def test_the_packaged_model_gives_the_vectors_of_the_library(
    texts: list[str], embedder: SentenceEmbedder, plain: SentenceTransformer
) -> None:
    expected = torch.as_tensor(plain.encode(texts, normalize_embeddings=True))
    torch.testing.assert_close(torch.tensor(embedder.embed(texts)), expected, atol=1e-5, rtol=0)


def test_the_packaged_model_is_run_in_onnx(embedder: SentenceEmbedder) -> None:
    embedder.embed(["loads it"])
    assert len(_run_in_onnx(embedder._model)) == 1


@pytest.mark.parametrize(
    "model",
    [
        BertModel(BertConfig(intermediate_size=64, **SMALL)),
        BertForSequenceClassification(BertConfig(intermediate_size=64, **SMALL)),
        XLMRobertaModel(XLMRobertaConfig(intermediate_size=64, pad_token_id=1, **SMALL)),
        XLMRobertaForSequenceClassification(XLMRobertaConfig(intermediate_size=64, pad_token_id=1, **SMALL)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_padded_texts_get_the_same_of_models_for_sentences_and_of_cross_encoders(model: nn.Module) -> None:
    loaded = nn.Sequential(model)
    expected = _of_padded(loaded)
    run_in_onnx(loaded)
    assert len(_run_in_onnx(loaded)) == 1
    torch.testing.assert_close(_of_padded(loaded), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "model",
    [
        BertModel(BertConfig(hidden_act="relu", intermediate_size=64, **SMALL)),
        BertModel(BertConfig(is_decoder=True, intermediate_size=64, **SMALL)),
        BertModel(BertConfig(output_hidden_states=True, intermediate_size=64, **SMALL)),
        BertModel(BertConfig(intermediate_size=64, **SMALL)).bfloat16(),
        DistilBertModel(DistilBertConfig(dim=32, hidden_dim=64, n_layers=2, n_heads=4, vocab_size=90)),
    ],
    ids=["another activation", "a decoder", "all states", "another precision", "another family"],
)
def test_what_cannot_be_run_so_stays_as_it_is(model: nn.Module) -> None:
    loaded = nn.Sequential(model)
    expected = _of_padded(loaded)
    run_in_onnx(loaded)
    assert not _run_in_onnx(loaded)
    assert torch.equal(_of_padded(loaded), expected)


def _run_in_onnx(model: nn.Module) -> list[OnnxBert]:
    return [part for part in model.modules() if isinstance(part, OnnxBert)]


def _of_padded(loaded: nn.Sequential) -> torch.Tensor:
    """What a model makes of a text of nine tokens and one of four: the states of these tokens, or scores."""
    ids = torch.arange(4, 22).view(2, 9)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    with torch.inference_mode():
        made = loaded.eval()[0](input_ids=ids, attention_mask=mask)
    states: torch.Tensor = made.last_hidden_state[mask.bool()] if "last_hidden_state" in made else made.logits
    return states
