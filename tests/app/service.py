"""How the tests speak to a running service."""

import time
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


def until(ask: Any, is_so: Any = bool) -> Any:
    """What `ask` gives once it is so, which it has a minute to become."""
    for _ in range(300):
        if is_so(answer := ask()):
            return answer
        time.sleep(0.2)  # what is asked counts in every store
    raise AssertionError(f"it stays {answer}")
