"""A real service on loopback, with the real model, a database of its own, and nothing else of the user's."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from openai import OpenAI

from app.models.chat import start_engine
from app.models.embedding import SentenceEmbedder
from app.server import create_app
from app.settings import Settings
from app.storage.backend import Place
from app.storage.database import Database, migrate
from app.web_server import serve_in_thread
from llm.loading import LoadedModel
from llm.text.chat_format import ChatTokenizer
from tests.app.postgres import PostgresServer, running_postgres
from tests.app.service import StartService
from tests.app.standard import openai_client
from tests.stand_in import model_for

Work = Callable[[list[Database]], Awaitable[None]]
RunningService = Callable[[Settings], AbstractContextManager[httpx.Client]]


@pytest.fixture(scope="session")
def embedder(models_folder: Path) -> SentenceEmbedder:
    """The one of all services here, loaded when the first of them needs it."""
    return SentenceEmbedder(Settings(models=models_folder))


@pytest.fixture(scope="module")
def served_model(request: pytest.FixtureRequest) -> LoadedModel:
    """Of the services of a module."""
    return model_for(request)


@pytest.fixture(scope="module")
def running_service(
    served_model: LoadedModel,
    chat_tokenizer: ChatTokenizer,
    embedder: SentenceEmbedder,
    models_folder: Path,
    untouched_database: Path,
) -> RunningService:
    """Runs a service of its own, with the parts that take long to load and keep no state."""

    @contextmanager
    def run(settings: Settings) -> Iterator[httpx.Client]:
        model = start_engine(served_model, chat_tokenizer, settings)
        if settings.database_url is None and not settings.database_path.exists():
            settings.home.mkdir(parents=True, exist_ok=True)
            shutil.copy(untouched_database, settings.database_path)
        app = create_app(settings, model, embedder if settings.models_folder == models_folder else None)
        with serve_in_thread(app) as url, httpx.Client(base_url=url, timeout=120) as client:
            yield client

    return run


@pytest.fixture
def start_service(running_service: RunningService) -> Iterator[StartService]:
    with ExitStack() as running:

        def start(**changes: Any) -> httpx.Client:
            return running.enter_context(running_service(Settings(**changes)))

        yield start


@pytest.fixture
def client(start_service: StartService) -> httpx.Client:
    """A client of a service that nobody has used yet."""
    return start_service()


@pytest.fixture(scope="module")
def used_client(
    running_service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A client of a service that the tests of a module share: for those that look at their own chats only."""
    with running_service(Settings(home=tmp_path_factory.mktemp("home"))) as client:
        yield client


@pytest.fixture(scope="module")
def standard(used_client: httpx.Client) -> OpenAI:
    """OpenAI's client of that service."""
    return openai_client(used_client)


@pytest.fixture(scope="module")
def forgetful_client(
    running_service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """Of a service that keeps no answer in memory, as one that has been started again does."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), resume_s=0)
    with running_service(settings) as client:
        yield client


@pytest.fixture(params=["at hand", "stored"])
def repeating_client(request: pytest.FixtureRequest) -> httpx.Client:
    """A service that gives an answer again from memory, and one that makes it anew of what is stored."""
    fixture = "used_client" if request.param == "at hand" else "forgetful_client"
    client: httpx.Client = request.getfixturevalue(fixture)
    return client


@pytest.fixture
def session_id(client: httpx.Client) -> str:
    return str(client.post("/v1/sessions", json={}).json()["id"])


@pytest.fixture(scope="session")
def untouched_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tables and no rows: to be copied, never written to."""
    path = tmp_path_factory.mktemp("database") / "perdure.sqlite3"
    migrate(path)
    return path


@pytest.fixture(scope="session")
def empty_database(untouched_database: Path) -> Path:
    """Shared by tests that look at the sessions or the owner that they have made only."""
    path = untouched_database.with_name("shared.sqlite3")
    shutil.copy(untouched_database, path)
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, started for the first test that asks for one."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_database(postgres: PostgresServer) -> str:
    return postgres.new_database()


@pytest.fixture
def at_once(postgres_database: str) -> Callable[[Work], None]:
    """Run work on some `Database`s of one database, as several processes have them."""

    def run(work: Work) -> None:
        async def working() -> None:
            databases = [Database(postgres_database) for _ in range(3)]
            try:
                await asyncio.wait_for(work(databases), 60)
            finally:
                for database in databases:
                    await database.close()

        asyncio.run(working())

    return run


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def any_database(request: pytest.FixtureRequest) -> Place:
    """A database of each kind, for tests of which each looks at what it has made itself only."""
    if request.param == "sqlite":
        return cast(Path, request.getfixturevalue("empty_database"))
    return cast(str, request.getfixturevalue("postgres_database"))


@pytest.fixture(params=["sqlite", "postgresql"])
def blank_database(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A new database of each kind, without tables."""
    if request.param == "sqlite":
        return tmp_path / "perdure.sqlite3"
    return cast(PostgresServer, request.getfixturevalue("postgres")).new_database("template1")
