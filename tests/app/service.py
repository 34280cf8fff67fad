"""How the tests speak to a running service."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from httpx_sse import connect_sse

StartService = Callable[..., httpx.Client]
"""Starts a service with settings that differ from the defaults; gives a client of it."""


@contextmanager
def open_stream(
    client: httpx.Client, session_id: str, *, path: str = "messages", **body: Any
) -> Iterator[Iterator[tuple[str, Any]]]:
    path = f"/v1/sessions/{session_id}/{path}"
    with connect_sse(client, "POST", path, json={"stream": True, **body}) as source:
        yield ((event.event, event.json()) for event in source.iter_sse())
