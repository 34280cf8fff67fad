"""Parts that the tests of the evaluations share: a model with which a benchmark is over in a moment."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.main import app
from app.models.chat import open_chat_model
from app.models.embedding import SentenceEmbedder
from app.server import create_app
from app.settings import Settings
from app.web_server import serve_in_thread
from llm.catalog import ensure_model
from llm.text.chat_format import ChatTokenizer
from tests.llm.tiny import CHAT_VOCABULARY, save_tiny_llama


@pytest.fixture(scope="session")
def tiny_model(models_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model with the tokeniser of the default one."""
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_llama(folder, vocab_size=CHAT_VOCABULARY, max_position_embeddings=8192)
    for file in ensure_model("smollm2-135m-instruct", models_folder).iterdir():
        if file.name.startswith(("tokenizer", "special_tokens")) or file.suffix == ".jinja":
            shutil.copy(file, folder)
    return folder


@pytest.fixture
def settings(tiny_model: Path, models_folder: Path) -> Settings:
    return Settings(model=str(tiny_model), models=models_folder)


@pytest.fixture(scope="session")
def service_url(
    tiny_model: Path, models_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A service with the tiny model, for evaluations: they delete what they make there."""
    home = tmp_path_factory.mktemp("evaluated")
    settings = Settings(model=str(tiny_model), models=models_folder, home=home, dtype="float32")
    served = create_app(settings, open_chat_model(settings), SentenceEmbedder(settings))
    with serve_in_thread(served) as url:
        yield url


@pytest.fixture(scope="session")
def tokenizer(tiny_model: Path) -> ChatTokenizer:
    return ChatTokenizer(tiny_model)


@pytest.fixture
def bench(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs `perdure bench` on the tiny model, and gives its report."""
    monkeypatch.setenv("PERDURE_MODEL", settings.model)

    def run(*arguments: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, ["bench", *arguments, "--json"])
        assert done.exit_code == 0, done.output
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    return run
