"""Contradictions are told by the label of the user's own NLI model; one that has none is refused by name."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from evals.harness.errors import EvaluationError
from evals.persona.contradictions import NliModel

FACTS = ("i sail .", "i bake .")


@pytest.fixture
def nli_model(tmp_path: Path) -> Callable[..., str]:
    """Saves a model that always answers with one of its labels."""

    def save(*labels: str, answer: str) -> str:
        (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "i"]))
        config = BertConfig(
            vocab_size=6,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=8,
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
        )
        model = BertForSequenceClassification(config)
        with torch.no_grad():
            model.classifier.weight.zero_()
            model.classifier.bias.copy_(torch.tensor([float(label == answer) for label in labels]))
        model.save_pretrained(tmp_path)
        BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
        return str(tmp_path)

    return save


@pytest.mark.parametrize(
    "labels", [("contradiction", "entailment", "neutral"), ("ENTAILMENT", "NEUTRAL", "CONTRADICTION")]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_reply_contradicts_if_the_label_says_so_wherever_it_stands(
    nli_model: Callable[..., str], labels: tuple[str, ...], place: int
) -> None:
    answer = labels[place]
    model = NliModel(nli_model(*labels, answer=answer))
    assert model.contradicts(FACTS, "i do not .") is (answer.lower() == "contradiction")
    assert model.contradicts(FACTS[:1], "i do not .") is (answer.lower() == "contradiction")
    assert not model.contradicts(FACTS, "  "), "an empty reply contradicts nothing"


def test_a_model_without_that_label_or_none_at_all_is_refused_by_name(
    nli_model: Callable[..., str], tmp_path: Path
) -> None:
    with pytest.raises(EvaluationError, match="has no label `contradiction`, but good, bad, ugly"):
        NliModel(nli_model("good", "bad", "ugly", answer="bad"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(EvaluationError, match="empty cannot be loaded"):
        NliModel(str(empty))
