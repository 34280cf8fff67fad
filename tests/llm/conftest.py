"""Parts that the tests of the model share."""

from pathlib import Path

import pytest

from llm.catalog import ensure_model
from llm.loading import LoadedModel, load_model
from tests.llm.tiny import CHAT_VOCABULARY, save_tiny_llama


@pytest.fixture(scope="session")
def model_folder(models_folder: Path) -> Path:
    """The default model, prepared, for tests that do not need it loaded."""
    return ensure_model("smollm2-135m-instruct", models_folder)


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
