"""The service on a thread of this process, for a terminal chat without a running service and for tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI


class ServiceDidNotStartError(Exception):
    """The app's start-up failed; the log says why."""


@contextmanager
def serve_in_thread(app: FastAPI) -> Iterator[str]:
    """Serve on a free port of the loopback interface until the block ends; gives the URL."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, log_level="error", timeout_graceful_shutdown=10
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="service")
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise ServiceDidNotStartError("the service could not start in this process")
        thread.join(0.02)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()
