"""How errors become problem documents (RFC 9457): those of the packages below, those of FastAPI, and ours."""

import json
from collections.abc import Callable
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.errors import (
    BadRequestProblem,
    BodyTooLargeProblem,
    DatabaseUnavailableProblem,
    IndexUnavailableProblem,
    InternalProblem,
    InvalidProblem,
    MessageTooLargeProblem,
    MethodNotAllowedProblem,
    ModelUnavailableProblem,
    NotFoundProblem,
    PersonaTooLargeProblem,
    PinsTooLargeProblem,
    ProblemError,
    QueueFullProblem,
    ShuttingDownProblem,
    WindowFullProblem,
)
from app.storage.backend import DatabaseUnavailableError
from llm.errors import EngineClosedError, QueueFullError, RemoteServerError
from memory.errors import (
    IndexUnavailableError,
    InvalidParametersError,
    MessageTooLargeError,
    PersonaTooLargeError,
    PinsTooLargeError,
    UnknownStrategyError,
    WindowFullError,
)

log = structlog.get_logger()


def problem_response(problem: ProblemError) -> Response:
    # ASCII only: what a client sent may hold characters that UTF-8 cannot carry.
    return Response(
        json.dumps(problem.document(), ensure_ascii=True),
        status_code=problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every error of the app with a problem document."""
    for error_type, to_problem in _TRANSLATIONS.items():
        app.add_exception_handler(error_type, _handler(to_problem))


def _handler(to_problem: Callable[[Any], ProblemError]) -> Callable[[Request, Exception], Any]:
    async def handle(_request: Request, error: Exception) -> Response:
        return problem_response(to_problem(error))

    return handle


def _from_http(error: HTTPException) -> ProblemError:
    known: dict[int, type[ProblemError]] = {
        404: NotFoundProblem,
        405: MethodNotAllowedProblem,
        413: BodyTooLargeProblem,
    }
    problem = known.get(error.status_code, BadRequestProblem)
    return problem(str(error.detail), headers=error.headers)


def _from_validation(error: RequestValidationError) -> ProblemError:
    errors = [
        {
            "field": ".".join(str(part) for part in detail["loc"][1:]) or detail["loc"][0],
            "problem": detail["msg"],
        }
        for detail in error.errors()
    ]
    if any(detail["type"] == "json_invalid" for detail in error.errors()):
        return BadRequestProblem("the body is not valid JSON", errors=errors)
    return InvalidProblem("; ".join(f"{item['field']}: {item['problem']}" for item in errors), errors=errors)


def _from_parameters(error: InvalidParametersError) -> ProblemError:
    errors = [
        {"field": f"memory.{problem.parameter}".rstrip("."), "problem": problem.problem}
        for problem in error.problems
    ]
    return InvalidProblem(str(error), errors=errors)


def _from_queue_full(error: QueueFullError) -> ProblemError:
    return QueueFullProblem(
        str(error),
        headers={"Retry-After": str(error.retry_after_s)},
        waiting_tokens=error.waiting_tokens,
        retry_after_s=error.retry_after_s,
    )


def _from_database(error: DatabaseUnavailableError) -> ProblemError:
    log.error("the database does not answer", reason=str(error))
    return DatabaseUnavailableProblem("the database does not answer; the log of the service has the reason")


def _from_anything(error: Exception) -> ProblemError:
    log.error("unhandled error", exc_info=error)
    return InternalProblem("an unexpected fault; the log of the service has the details")


_TRANSLATIONS: dict[type[Exception], Callable[[Any], ProblemError]] = {
    ProblemError: lambda error: error,
    HTTPException: _from_http,
    RequestValidationError: _from_validation,
    InvalidParametersError: _from_parameters,
    UnknownStrategyError: lambda error: InvalidProblem.of_field(
        "memory.strategy", str(error), known=error.known
    ),
    PersonaTooLargeError: lambda error: PersonaTooLargeProblem(str(error), **error.numbers),
    PinsTooLargeError: lambda error: PinsTooLargeProblem(str(error), **error.numbers),
    MessageTooLargeError: lambda error: MessageTooLargeProblem(str(error), **error.numbers),
    WindowFullError: lambda error: WindowFullProblem(str(error), **error.numbers),
    IndexUnavailableError: lambda error: IndexUnavailableProblem(str(error)),
    QueueFullError: _from_queue_full,
    RemoteServerError: lambda error: ModelUnavailableProblem(str(error)),
    DatabaseUnavailableError: _from_database,
    EngineClosedError: lambda _error: ShuttingDownProblem("the model has been shut down"),
    Exception: _from_anything,
}
