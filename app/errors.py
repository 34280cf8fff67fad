"""The errors that a client meets, as problem documents (RFC 9457).

`type` is stable and documented in docs/errors.md; `detail` is for people; further members carry the numbers.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar


class ProblemError(Exception):
    """Base of all problems. `extra` members go into the document as they are."""

    status: ClassVar[int] = HTTPStatus.INTERNAL_SERVER_ERROR
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Something went wrong inside the service"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra

    def document(self) -> dict[str, Any]:
        return {
            "type": f"urn:perdure:problem:{self.slug}",
            "title": self.title,
            "status": int(self.status),
            "detail": self.detail,
            **self.extra,
        }


class InternalProblem(ProblemError):
    """A fault of ours; the log has the details under the request's id."""


class BadRequestProblem(ProblemError):
    status = HTTPStatus.BAD_REQUEST
    slug = "bad-request"
    title = "The request could not be read"


class KeyNeededProblem(ProblemError):
    status = HTTPStatus.UNAUTHORIZED
    slug = "key-needed"
    title = "A valid API key is needed"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="perdure"'})


class ScopeProblem(ProblemError):
    status = HTTPStatus.FORBIDDEN
    slug = "scope-lacking"
    title = "The API key is not allowed to do that"


class HostProblem(ProblemError):
    status = HTTPStatus.FORBIDDEN
    slug = "host-not-allowed"
    title = "The service does not answer to that name"


class OriginProblem(ProblemError):
    status = HTTPStatus.FORBIDDEN
    slug = "origin-not-allowed"
    title = "Pages of that origin may not use the service"


class RateLimitProblem(ProblemError):
    status = HTTPStatus.TOO_MANY_REQUESTS
    slug = "rate-limit"
    title = "The API key has used up its minute"


class ConcurrencyLimitProblem(ProblemError):
    status = HTTPStatus.TOO_MANY_REQUESTS
    slug = "concurrency-limit"
    title = "As many replies as the API key may have are being generated"


class StorageLimitProblem(ProblemError):
    """Without Retry-After: waiting does not help."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    slug = "storage-limit"
    title = "The API key has stored as much as it may"


class NotFoundProblem(ProblemError):
    status = HTTPStatus.NOT_FOUND
    slug = "not-found"
    title = "There is no such thing"


class MethodNotAllowedProblem(ProblemError):
    status = HTTPStatus.METHOD_NOT_ALLOWED
    slug = "method-not-allowed"
    title = "This address does not take that method"


class InvalidProblem(ProblemError):
    """`errors` lists each field that is wrong: `{"field": ..., "problem": ...}`."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    slug = "invalid-request"
    title = "Something in the request is not valid"

    @classmethod
    def of_field(cls, field: str, problem: str, **extra: Any) -> "InvalidProblem":
        return cls(f"{field}: {problem}", errors=[{"field": field, "problem": problem}], **extra)


class BodyTooLargeProblem(ProblemError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    slug = "body-too-large"
    title = "The request body is too large"


class AddressTooLongProblem(ProblemError):
    status = HTTPStatus.REQUEST_URI_TOO_LONG
    slug = "address-too-long"
    title = "The address of the request is too long"


class HeadersTooLargeProblem(ProblemError):
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    slug = "headers-too-large"
    title = "The headers of the request are too large"


class UnknownFormatProblem(ProblemError):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    slug = "unknown-format"
    title = "Files of that kind are not read"


class DocumentRefusedProblem(ProblemError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    slug = "document-refused"
    title = "The file cannot be read as a document"


class MessageTooLargeProblem(ProblemError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    slug = "message-too-large"
    title = "The message does not fit the context window"


class WindowFullProblem(ProblemError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    slug = "context-window-full"
    title = "The session's memory strategy keeps more than the context window holds"


class NoSummaryProblem(ProblemError):
    status = HTTPStatus.CONFLICT
    slug = "no-summary"
    title = "The session has no summary"


class IndexUnavailableProblem(ProblemError):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "index-unavailable"
    title = "An index of recall cannot be changed just now"


class SummaryTooLargeProblem(ProblemError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    slug = "summary-too-large"
    title = "The summary is larger than the session's memory allows"


class PersonaTooLargeProblem(ProblemError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    slug = "persona-too-large"
    title = "The persona leaves no room for a turn"


class PersonaInUseProblem(ProblemError):
    status = HTTPStatus.CONFLICT
    slug = "persona-in-use"
    title = "Chat sessions still use this persona"


class SessionBusyProblem(ProblemError):
    status = HTTPStatus.CONFLICT
    slug = "session-busy"
    title = "Another message of this session is still being answered"


class NotActiveProblem(ProblemError):
    status = HTTPStatus.CONFLICT
    slug = "message-not-active"
    title = "The message is not part of the chat as it stands"


class NothingToAnswerProblem(ProblemError):
    status = HTTPStatus.CONFLICT
    slug = "nothing-to-answer"
    title = "There is no user's message to reply to"


class PinsTooLargeProblem(ProblemError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    slug = "pins-too-large"
    title = "The pinned turns leave no room for a turn"


class KeyReusedProblem(ProblemError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    slug = "idempotency-key-reused"
    title = "The Idempotency-Key belongs to another request"


class KeyInUseProblem(ProblemError):
    status = HTTPStatus.CONFLICT
    slug = "idempotency-key-in-use"
    title = "A request with this Idempotency-Key is being carried out elsewhere"


class QueueFullProblem(ProblemError):
    status = HTTPStatus.TOO_MANY_REQUESTS
    slug = "queue-full"
    title = "Too many requests wait for the model"


class QueueTimeoutProblem(ProblemError):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "queue-timeout"
    title = "The model was too busy for too long"


class GenerationFailedProblem(ProblemError):
    slug = "generation-failed"
    title = "The model could not finish the reply"


class ModelUnavailableProblem(ProblemError):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "model-unavailable"
    title = "The server of the model does not answer as it should"


class ShuttingDownProblem(ProblemError):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "shutting-down"
    title = "The service is shutting down"


class DatabaseUnavailableProblem(ProblemError):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "database-unavailable"
    title = "The database does not answer"


class StorageFullProblem(ProblemError):
    status = HTTPStatus.INSUFFICIENT_STORAGE
    slug = "storage-full"
    title = "There is no room left to store it"


class NotReadyProblem(ProblemError):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "not-ready"
    title = "The service is not ready"
