"""Parts that are shared by all tests: the models, fetched once, loaded once."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

# Each of the processes that share the tests computes on its share of the cores: threads of one that wait for
# threads of its own take the cores from the others. Read when torch is loaded, and by started processes.
if processes := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(processes))))

import pytest

from app.settings import Settings
from llm.catalog import ensure_model
from llm.loading import LoadedModel, load_model
from llm.text.chat_format import ChatTokenizer
from tests.chroma import running_chroma
from tests.stand_in import DEFAULT_MODEL, load_stand_in


def pytest_collection_finish() -> None:
    """What is imported by now stays: no collection of garbage need go through it again."""
    gc.freeze()


@pytest.fixture(scope="session")
def models_folder() -> Path:
    return Settings().models_folder


@pytest.fixture(scope="session")
def model_folder(models_folder: Path) -> Path:
    """The default model, prepared, for tests that do not need it loaded."""
    return ensure_model(DEFAULT_MODEL, models_folder)


@pytest.fixture(scope="session")
def default_model(models_folder: Path) -> LoadedModel:
    return load_model(DEFAULT_MODEL, models_folder)


@pytest.fixture(scope="session")
def stand_in(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_stand_in(tmp_path_factory.mktemp("stand-in"), model_folder)


@pytest.fixture(scope="session")
def chroma_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Chroma server, started for the first test that asks for one."""
    with running_chroma(tmp_path_factory.mktemp("chroma server")) as url:
        yield url


@pytest.fixture(scope="session")
def chat_tokenizer(model_folder: Path) -> ChatTokenizer:
    return ChatTokenizer(model_folder)


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_user(models_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures and tests meet defaults: neither the user's environment nor a `.env` file reaches them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PERDURE_")]:
            patch.delenv(name)
        patch.setenv("PERDURE_HOME", str(tmp_path_factory.mktemp("home of none")))
        patch.setenv("PERDURE_MODELS", str(models_folder))
        patch.setenv("PERDURE_DTYPE", "float32")  # the same on every machine
        patch.chdir(tmp_path_factory.mktemp("folder of none"))
        yield


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PERDURE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
