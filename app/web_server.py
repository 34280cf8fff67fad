"""The web server that the app runs on: in the foreground, or on a thread of this process."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.dependencies import Service
from app.middleware import headers_too_large
from app.problem_responses import problem_response

MAX_UNFINISHED_BYTES = 2**20
"""Of a connection, received and not passed on yet: the head of a request, or what follows its body."""


class ServiceDidNotStartError(Exception):
    """The app's start-up failed; the log says why."""


class _BoundedProtocol(HttpToolsProtocol):
    """Ends a connection that sends a head without an end: the parser would keep all of it.

    Heads that end are bounded by `app.middleware.HeadLimit`, whose answers are logged and counted.
    """

    _unfinished_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._unfinished_bytes += len(data)
        super().data_received(data)
        if self._unfinished_bytes > MAX_UNFINISHED_BYTES and not self.transport.is_closing():
            self.transport.write(_refusal())
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._unfinished_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unfinished_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unfinished_bytes = 0
        super().on_message_complete()


class WebServer(uvicorn.Server):
    """Told to stop, it ends the running replies first, so that their streams end with what was stored."""

    def __init__(self, app: FastAPI, *, host: str, port: int, log_level: str | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=_BoundedProtocol,
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


def _refusal() -> bytes:
    """The answer to a head without an end, whose address may not have come whole: as one that is ours."""
    answer = problem_response(headers_too_large())
    status = HTTPStatus(answer.status_code)
    headers = [*answer.raw_headers, (b"connection", b"close")]
    head = [f"HTTP/1.1 {status.value} {status.phrase}".encode(), *(b": ".join(header) for header in headers)]
    return b"\r\n".join([*head, b"", bytes(answer.body)])
