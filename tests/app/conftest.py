"""A real service on loopback, with the real model, a database of its own, and nothing else of the user's."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from app.chat_model import start_engine
from app.server import create_app
from app.settings import Settings
from app.web_server import serve_in_thread
from llm.loading import LoadedModel
from tests.app.service import StartService


@pytest.fixture
def start_service(default_model: LoadedModel) -> Iterator[StartService]:
    with ExitStack() as running:

        def start(**changes: Any) -> httpx.Client:
            settings = Settings(**changes)
            app = create_app(settings, lambda settings: start_engine(default_model, settings))
            url = running.enter_context(serve_in_thread(app))
            return running.enter_context(httpx.Client(base_url=url, timeout=120))

        yield start


@pytest.fixture
def client(start_service: StartService) -> httpx.Client:
    return start_service()


@pytest.fixture
def session_id(client: httpx.Client) -> str:
    return str(client.post("/v1/sessions", json={}).json()["id"])
