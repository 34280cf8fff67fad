"""The web server that the app runs on: in the foreground, or on a thread of this process."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from app.api.dependencies import Service


class ServiceDidNotStartError(Exception):
    """The app's start-up failed; the log says why."""


class WebServer(uvicorn.Server):
    """Told to stop, it ends the running replies first, so that their streams end with what was stored."""

    def __init__(self, app: FastAPI, *, host: str, port: int, log_level: str | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                log_config=None,
                log_level=log_level,
                timeout_graceful_shutdown=10,
            )
        )
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        service: Service = self._app.state.service
        await service.completions.close()
        await service.chat.close()
        await super().shutdown(sockets)


@contextmanager
def serve_in_thread(app: FastAPI) -> Iterator[str]:
    """Serve on a free port of the loopback interface until the block ends; gives the URL.

    Raises ServiceDidNotStartError.
    """
    server = WebServer(app, host="127.0.0.1", port=0, log_level="error")
    thread = threading.Thread(target=server.run, name="service")
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise ServiceDidNotStartError("the service could not start in this process; its log says why")
        thread.join(0.02)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()
