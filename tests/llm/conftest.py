"""Parts that the tests of the model share."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from llm.engine.local_engine import LocalEngine
from llm.loading import LoadedModel, load_model
from llm.text.chat_format import ChatTokenizer
from tests.llm.engines import StartLocal
from tests.llm.tiny import CHAT_VOCABULARY, save_tiny_llama
from tests.stand_in import model_for


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model on the default one's vocabulary: a step of it takes a moment."""
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_llama(
        folder, vocab_size=CHAT_VOCABULARY, max_position_embeddings=2048, tie_word_embeddings=True
    )
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_model_folder: Path) -> LoadedModel:
    return load_model(str(tiny_model_folder), tiny_model_folder)


@pytest.fixture
def start_local(request: pytest.FixtureRequest, chat_tokenizer: ChatTokenizer) -> Iterator[StartLocal]:
    """With the model of the test: see `tests.stand_in`."""
    with ExitStack() as running:

        def start(**changes: Any) -> LocalEngine:
            settings = {"context_window": 2048, "kv_cache_bytes": 2**30} | changes
            engine = LocalEngine(model_for(request), chat_tokenizer, **settings)
            running.callback(engine.close)
            return engine

        yield start
