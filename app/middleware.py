"""What happens around every request: bounds on its size, an id, its span, its metrics, a line in the log."""

import time
import uuid
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from opentelemetry.trace import Span
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.replies import CLIENT_CLOSED_REQUEST
from app.errors import AddressTooLongProblem, BodyTooLargeProblem, HeadersTooLargeProblem, ProblemError
from app.problem_responses import problem_of, response_to
from app.telemetry.metrics import METHODS, OTHER, Metrics
from app.telemetry.requests import new_outcome
from app.telemetry.tracing import mark_failed, request_span

log = structlog.get_logger()

MAX_ADDRESS_BYTES = 16 * 2**10
"""Of path and query."""
MAX_HEADER_BYTES = 64 * 2**10
"""Of the names and values of all headers together."""


class HeadLimit:
    """Refuses requests whose address or headers are larger than any that is meant."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = _head_problem(scope) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await response_to(scope["path"], problem)(scope, receive, send)


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
    """Gives each request an id (`X-Request-Id`) and a span, logs how it went, and counts it.

    An error that nothing else has answered is answered here, so that the id is in the answer.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        method = scope["method"] if scope["method"] in METHODS else OTHER
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        attributes = {"http.request.method": method, "perdure.request_id": request_id}
        with request_span(method, headers, attributes) as span:
            await self._answer(scope, receive, send, request_id, span)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str, span: Span) -> None:
        began = time.perf_counter()
        outcome, status = new_outcome(), 0

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        except Exception as error:
            if status:  # half an answer has gone out: only its connection can tell of the end
                raise
            await response_to(scope["path"], problem_of(error))(scope, receive, noting_send)
        finally:
            status = status or CLIENT_CLOSED_REQUEST
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", None)
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=round(seconds * 1000, 1),
                **({"problem": outcome.problem} if outcome.problem else {}),
            )
            self._metrics.request(scope["method"], route, status, seconds)
            if outcome.problem:
                self._metrics.problem(outcome.problem)
            if route:
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)
            span.set_attribute("http.response.status_code", status)
            if outcome.problem and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                mark_failed(span, outcome.problem)


def _head_problem(scope: Scope) -> ProblemError | None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_ADDRESS_BYTES:
        return AddressTooLongProblem(
            f"path and query may have at most {MAX_ADDRESS_BYTES} bytes", max_bytes=MAX_ADDRESS_BYTES
        )
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
        return headers_too_large()
    return None


def headers_too_large() -> HeadersTooLargeProblem:
    return HeadersTooLargeProblem(
        f"all headers together may have at most {MAX_HEADER_BYTES} bytes", max_bytes=MAX_HEADER_BYTES
    )


def _too_large(max_bytes: int) -> BodyTooLargeProblem:
    return BodyTooLargeProblem(f"a request body may have at most {max_bytes} bytes", max_bytes=max_bytes)
