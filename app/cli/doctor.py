"""`perdure doctor`: what is installed, where data lies, and whether model and database are well."""

import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version

import typer
from rich.console import Console
from rich.table import Table

from app import __version__
from app.cli.client import ServiceClient
from app.settings import Settings

PACKAGES = ("torch", "transformers", "gguf", "sentence-transformers", "chromadb", "fastapi", "sqlalchemy")


class CheckFailedError(Exception):
    """A check found something wrong; the message says what, and what to do."""


def doctor() -> None:
    """Check the installation. Exits with 1 if anything is wrong."""
    settings = Settings()
    checks: dict[str, Callable[[Settings], str]] = {
        "Python": lambda _: sys.version.split()[0],
        "Perdure": lambda _: __version__,
        "packages": _packages,
        "home": _home,
        "database": _database,
        "chat model": _chat_model,
        "embedding model": _embedding_model,
        "service": _service,
    }
    table = Table("", "check", "", box=None)
    failed = False
    console = Console()
    with console.status("checking"):
        for name, check in checks.items():
            try:
                table.add_row("[green]ok[/green]", name, check(settings))
            except Exception as error:  # whatever it is, the doctor names it and goes on
                failed = True
                table.add_row("[red]!![/red]", name, f"{type(error).__name__}: {error}")
    console.print(table, highlight=False)
    if failed:
        raise typer.Exit(1)


def _packages(_settings: Settings) -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            raise CheckFailedError(f"{package} is not installed; run `make serve` or pip install") from None
    return ", ".join(found)


def _home(settings: Settings) -> str:
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    probe = settings.home / ".doctor"
    probe.write_text("", encoding="utf-8")
    probe.unlink()
    free_gb = shutil.disk_usage(settings.home).free / 1e9
    if free_gb < 1:
        raise CheckFailedError(f"{settings.home} has only {free_gb:.1f} GB free")
    return f"{settings.home}, {free_gb:.0f} GB free; models in {settings.models_folder}"


def _database(settings: Settings) -> str:
    if isinstance(settings.database, str):
        return _postgresql(settings.database)
    path = settings.database_path
    if not path.exists():
        return f"{path} will be made at the first start"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        [(verdict,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
        if verdict != "ok":
            raise CheckFailedError(f"{path}: {verdict}")
        [(revision,)] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        [(sessions,)] = connection.execute("SELECT count(*) FROM sessions").fetchall()
        [(messages,)] = connection.execute("SELECT count(*) FROM messages").fetchall()
    return f"{path}, schema {revision}: {sessions} sessions, {messages} messages"


def _postgresql(url: str) -> str:
    from sqlalchemy import inspect, text

    from app.storage.database import backend_of

    backend = backend_of(url)
    with backend.reached(), backend.blocking_engine().connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return f"{backend.name}, whose tables will be made at the first start"
        counts = (
            "SELECT (SELECT version_num FROM alembic_version), (SELECT count(*) FROM sessions),"
            " (SELECT count(*) FROM messages)"
        )
        revision, sessions, messages = connection.execute(text(counts)).one()
    return f"{backend.name}, schema {revision}: {sessions} sessions, {messages} messages"


def _chat_model(settings: Settings) -> str:
    from app.models.chat import open_chat_model
    from llm.engine.interface import Finished, GenerationRequest, SamplingParameters
    from llm.packages import PACKAGED_MODELS

    if settings.remote_url is None and settings.model in PACKAGED_MODELS:
        _check_packaged(settings.model, settings)
    model = open_chat_model(settings)
    try:
        info = model.engine.model
        prompt = (*model.tokenizer.encode_message("user", "Say hello."), *model.tokenizer.generation_prompt)
        sampling = SamplingParameters(max_tokens=8, temperature=0)
        request = GenerationRequest(prompt, sampling, messages=(("user", "Say hello."),))
        *_, last = model.engine.submit(request)
        if not isinstance(last, Finished) or not last.text.strip():
            raise CheckFailedError(f"{info.name} gave no text: {last}")
    finally:
        model.engine.close()
    says = f"says {last.text.strip()!r}"
    if settings.remote_url is not None:
        where = f"{info.details['url']} by its {info.details['api']} API"
        return f"{info.name} at {where}, token counts {info.token_counts}; {says}"
    return f"{info.name}, {info.parameters:,} parameters, {info.dtype}; {says}"


def _embedding_model(settings: Settings) -> str:
    from app.models.embedding import SentenceEmbedder
    from llm.catalog import EMBEDDING_MODEL

    _check_packaged(EMBEDDING_MODEL, settings)  # its tokeniser cuts documents, whatever embeds them
    embedder = SentenceEmbedder(settings)
    if not embedder.is_fetched:
        raise CheckFailedError(f"{settings.embedding_model} is not here yet; the first search fetches it")
    [vector] = embedder.embed(["Is it well?"])
    return f"{settings.embedding_model}, {len(vector)} numbers to a text"


def _check_packaged(name: str, settings: Settings) -> None:
    from llm.catalog import verify
    from llm.packages import PACKAGED_MODELS, is_fetched

    if not is_fetched(PACKAGED_MODELS[name], settings.models_folder / name):
        raise CheckFailedError(f"{name} is not here yet; `perdure models fetch` fetches it")
    verify(name, settings.models_folder)


def _service(settings: Settings) -> str:
    client = ServiceClient(f"http://{settings.host}:{settings.port}", settings.api_key)
    with closing(client):
        return f"{'running' if client.is_ready() else 'not running'} at {client.url}"
