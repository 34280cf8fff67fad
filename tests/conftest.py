"""Parts that are shared by all tests: the models, fetched once, loaded once."""

import os
from collections.abc import Iterator
from pathlib import Path

# Each of the processes that share the tests computes on its share of the cores: threads of one that wait for
# threads of its own take the cores from the others. Read when torch is loaded, and by started processes.
if processes := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(processes))))

import pytest

from app.settings import Settings
from llm.loading import LoadedModel, load_model
from llm.text.chat_format import ChatTokenizer
from tests.chroma import running_chroma


@pytest.fixture(scope="session")
def models_folder() -> Path:
    return Settings().models_folder


@pytest.fixture(scope="session")
def default_model(models_folder: Path) -> LoadedModel:
    return load_model("smollm2-135m-instruct", models_folder)


@pytest.fixture(scope="session")
def chroma_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Chroma server, started for the first test that asks for one."""
    with running_chroma(tmp_path_factory.mktemp("chroma server")) as url:
        yield url


@pytest.fixture(scope="session")
def chat_tokenizer(default_model: LoadedModel) -> ChatTokenizer:
    return ChatTokenizer(default_model.folder)


@pytest.fixture(autouse=True)
def no_settings_of_the_user(models_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests meet defaults: neither the user's environment nor a `.env` file reaches them."""
    for name in os.environ:
        if name.startswith("PERDURE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PERDURE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PERDURE_MODELS", str(models_folder))
    monkeypatch.setenv("PERDURE_DTYPE", "float32")  # the same on every machine
    monkeypatch.chdir(tmp_path)
