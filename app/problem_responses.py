"""How errors become problem documents (RFC 9457): faults, what is wrong with requests, and our own.

On the addresses of OpenAI's API they become its errors instead.
"""

import json

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.errors import (
    BadRequestProblem,
    BodyTooLargeProblem,
    InvalidProblem,
    MessageTooLargeProblem,
    MethodNotAllowedProblem,
    NotFoundProblem,
    PersonaTooLargeProblem,
    PinsTooLargeProblem,
    ProblemError,
    QueueFullProblem,
    QueueTimeoutProblem,
    WindowFullProblem,
)
from app.faults import FAULTS, Translations, translated
from app.openai.errors import error_response, is_standard, too_long, unsupported
from app.telemetry.metrics import METHODS
from app.telemetry.requests import note_problem
from llm.errors import PromptTooLongError, QueueFullError, QueueTimeoutError, UnsupportedByEngineError
from memory.errors import (
    InvalidParametersError,
    MessageTooLargeError,
    PersonaTooLargeError,
    PinsTooLargeError,
    UnknownStrategyError,
    WindowFullError,
)


def problem_response(problem: ProblemError) -> Response:
    # ASCII only: what a client sent may hold characters that UTF-8 cannot carry.
    return Response(
        json.dumps(problem.document(), ensure_ascii=True),
        status_code=problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )


def response_to(path: str, problem: ProblemError) -> Response:
    """The problem in the form that clients of this address expect."""
    note_problem(problem)
    return error_response(problem) if is_standard(path) else problem_response(problem)


def problem_of(error: Exception) -> ProblemError:
    """What a client is told of any error."""
    return translated(error, _TRANSLATIONS)


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every error of the app with a problem document, or as the address has it."""
    for error_type in _TRANSLATIONS:
        app.add_exception_handler(error_type, _handle)


async def _handle(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if isinstance(problem, MethodNotAllowedProblem):
        problem.headers["Allow"] = ", ".join(_methods_of(request))
    return response_to(request.url.path, problem)


def _methods_of(request: Request) -> list[str]:
    """What the address takes, of all its routes: the first that has it knows its own alone (RFC 9110)."""
    return [
        method
        for method in sorted(METHODS)
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


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


_TRANSLATIONS: Translations = {
    **FAULTS,
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
    QueueFullError: _from_queue_full,
    QueueTimeoutError: lambda error: QueueTimeoutProblem(str(error)),
    PromptTooLongError: lambda error: too_long("prompt", str(error)),
    UnsupportedByEngineError: lambda error: unsupported("model", str(error)),
}
