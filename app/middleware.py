"""What happens around every request: a bound on its body, an id, and a line in the log."""

import time
import uuid
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import BodyTooLargeProblem
from app.problem_responses import response_to

log = structlog.get_logger()


class BodyLimit:
    """Refuses bodies of more than `max_bytes`, before they are read where their length is announced.

    `exceptions`: the bounds of single paths.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, exceptions: Mapping[str, int]) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._exceptions = exceptions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = self._exceptions.get(scope["path"], self._max_bytes)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > max_bytes:
            await response_to(scope["path"], _too_large(max_bytes))(scope, receive, send)
            return
        received = 0

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > max_bytes:
                # The one kind of exception that FastAPI lets through while it reads a body.
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(max_bytes).detail)
            return message

        await self._app(scope, counted_receive, send)


class RequestLog:
    """Gives each request an id (`X-Request-Id`) and logs how it went."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        began = time.perf_counter()
        status = 500

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=round((time.perf_counter() - began) * 1000, 1),
            )


def _too_large(max_bytes: int) -> BodyTooLargeProblem:
    return BodyTooLargeProblem(f"a request body may have at most {max_bytes} bytes", max_bytes=max_bytes)
