"""Errors in the form of OpenAI's API, on the addresses that are part of it. Elsewhere they stay problem
documents. `code` is the API's own where it has one, else the name of the problem document.
"""

import json
import re
from http import HTTPStatus
from typing import Any

from fastapi import Response

from app.errors import (
    InvalidProblem,
    MessageTooLargeProblem,
    NotFoundProblem,
    ProblemError,
    QueueFullProblem,
    WindowFullProblem,
)

PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/conversations",
    "/v1/embeddings",
    "/v1/models",
    "/v1/responses",
)
"""Where clients of the API expect its errors, on these addresses and below them."""

_CODES: dict[type[ProblemError], str] = {
    MessageTooLargeProblem: "context_length_exceeded",
    WindowFullProblem: "context_length_exceeded",
    QueueFullProblem: "rate_limit_exceeded",
}
_TYPES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}


def is_standard(path: str) -> bool:
    """Whether the address is one of OpenAI's API."""
    return any(path == each or path.startswith(f"{each}/") for each in PATHS)


def unsupported(param: str, problem: str) -> InvalidProblem:
    """The API has it, and the model or this service has not."""
    return InvalidProblem.of_field(param, problem, code="unsupported_parameter")


def too_long(param: str, problem: str) -> InvalidProblem:
    """Prompt and reply pass the context window."""
    return InvalidProblem.of_field(param, problem, code="context_length_exceeded")


def no_such_model(name: str) -> NotFoundProblem:
    return NotFoundProblem(f"the model {name!r} does not exist", code="model_not_found", param="model")


def error_document(problem: ProblemError) -> dict[str, Any]:
    """`{"error": {"message", "type", "param", "code"}}`."""
    status = _status(problem)
    errors = problem.extra.get("errors")
    field = problem.extra.get("param") or (errors[0]["field"] if errors else None)
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    code = _CODES.get(type(problem)) or problem.slug.replace("-", "_")
    if field is not None:
        # Without the names that pydantic gives to the members of a union.
        field = ".".join(part for part in field.split(".") if re.fullmatch(r"\w+", part))
    return {
        "error": {
            "message": problem.detail,
            "type": _TYPES.get(status, kind),
            "param": re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", field) if field else None,
            "code": problem.extra.get("code", code),
        }
    }


def error_response(problem: ProblemError) -> Response:
    headers = dict(problem.headers)
    if "user_message_id" in problem.extra:
        # The message is stored: clients of the API try again by themselves, and would say it twice.
        headers["X-Should-Retry"] = "false"
    return Response(
        json.dumps(error_document(problem), ensure_ascii=True),
        status_code=_status(problem),
        headers=headers,
        media_type="application/json",
    )


def _status(problem: ProblemError) -> int:
    """The API has no 422."""
    is_invalid = problem.status == HTTPStatus.UNPROCESSABLE_ENTITY
    return int(HTTPStatus.BAD_REQUEST if is_invalid else problem.status)
