"""A cross-encoder re-orders the best of what was found; without one that works, the order stays."""

import asyncio
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from app.models.chat import start_engine
from app.models.embedding import SentenceEmbedder
from app.models.loading import loading
from app.models.reranking import RERANKED, Reranker
from app.server import create_app
from app.settings import Settings
from app.web_server import serve_in_thread
from llm.catalog import EMBEDDING_MODEL, ensure_model
from llm.errors import ModelNotFoundError
from llm.loading import LoadedModel
from llm.text.chat_format import ChatTokenizer
from memory.recall.passage import Passage, PassageKey
from memory.recall.ranking import Ranked, indexed_text
from tests.app.service import StartService, until
from tests.app.test_recall_api import new_chat, wait_until_indexed

QUESTION = "Where is the safe?"


def save_cross_encoder(folder: Path, models_folder: Path, *, scores: int = 1) -> Path:
    """A small one with random weights."""
    tokenizer = AutoTokenizer.from_pretrained(ensure_model(EMBEDDING_MODEL, models_folder))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    config.num_labels = scores
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def ranked(count: int) -> list[Ranked]:
    texts = (f"Mirror number {number}." for number in range(count))
    return [
        Ranked(Passage(PassageKey("ses_1", number), text, speaker="Ada"), float(count - number), "why")
        for number, text in enumerate(texts)
    ]


def test_the_best_are_put_in_the_order_of_the_model_and_the_rest_follows(
    tmp_path: Path, models_folder: Path
) -> None:
    reranker = Reranker(str(save_cross_encoder(tmp_path / "model", models_folder)), Settings())
    before = ranked(RERANKED + 5)
    given = reranker.scores(QUESTION, [indexed_text(each.passage) for each in before[:RERANKED]])
    after, fault = asyncio.run(reranker.reranked(QUESTION, before))
    reranker.close()
    assert fault is None
    wanted = sorted(range(RERANKED), key=lambda place: -given[place])
    assert [each.passage.key.number for each in after[:RERANKED]] == wanted != list(range(RERANKED))
    assert after[RERANKED:] == before[RERANKED:]
    assert [each.score for each in after] == [each.score for each in before]


def test_nothing_found_needs_no_model(tmp_path: Path) -> None:
    reranker = Reranker(str(tmp_path / "none"), Settings())
    assert asyncio.run(reranker.reranked(QUESTION, [])) == ([], None)
    reranker.close()


@pytest.mark.parametrize("is_there", [False, True])
def test_with_a_model_that_does_not_serve_the_order_stays_and_it_is_said(
    tmp_path: Path, models_folder: Path, *, is_there: bool
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if is_there:
        save_cross_encoder(folder, models_folder, scores=3)
    reranker = Reranker(str(folder), Settings())
    with pytest.raises(Exception, match="cross-encoder"):
        reranker.scores(QUESTION, ["a", "b"])  # takes its time, at the first import
    before = ranked(3)
    after, fault = asyncio.run(reranker.reranked(QUESTION, before))
    reranker.close()
    assert after == before
    assert fault is not None
    assert str(folder) in fault


@pytest.mark.parametrize(
    ("error", "reason"), [(OSError(), "OSError"), (ValueError("it is broken\nsee there"), "it is broken")]
)
def test_a_model_that_cannot_be_loaded_is_named_with_the_reason_in_a_line(
    error: Exception, reason: str
) -> None:
    with pytest.raises(ModelNotFoundError) as raised, loading("the cross-encoder 'x'"):
        raise error
    assert str(raised.value) == f"the cross-encoder 'x' could not be loaded: {reason}"


def test_a_search_says_when_it_could_not_be_re_ranked(start_service: StartService, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    client = start_service(reranker=str(tmp_path / "empty"))
    chat = new_chat(client, "The safe is behind the mirror.", "Noted.", user="mia")
    wait_until_indexed(client)
    answer = client.post("/v1/search", json={"query": QUESTION, "session_id": chat}).json()
    assert answer["data"][0]["text"] == "The safe is behind the mirror."
    assert "re-ranked" in answer["degraded"]


def test_a_service_that_warms_up_has_its_embedding_model_before_the_first_message(
    default_model: LoadedModel, chat_tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "home")
    embedder = SentenceEmbedder(settings)
    model = start_engine(default_model, chat_tokenizer, settings)
    with serve_in_thread(create_app(settings, model, embedder, warm_up=True)):
        assert until(lambda: embedder.is_loaded)


def test_a_model_that_is_not_there_is_not_fetched_to_warm_up(tmp_path: Path) -> None:
    embedder = SentenceEmbedder(Settings(models=tmp_path / "none"))
    asyncio.run(embedder.warm_up())
    assert not embedder.is_loaded
    assert not (tmp_path / "none").exists()
