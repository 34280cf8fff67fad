"""What clients are told of faults: of the database, the disk, the model, and of what nobody expected.

In the answer to a request, or at the end of a stream whose request has long been answered.
"""

import errno
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from app.errors import (
    DatabaseUnavailableProblem,
    IndexUnavailableProblem,
    InternalProblem,
    KeyInUseProblem,
    ModelUnavailableProblem,
    ProblemError,
    ShuttingDownProblem,
    StorageFullProblem,
)
from app.storage.backend import DatabaseFullError, DatabaseUnavailableError
from app.storage.idempotency import KeyTakenError
from llm.errors import EngineClosedError, RemoteServerError
from memory.errors import IndexUnavailableError

log = structlog.get_logger()

Translations = Mapping[type, Callable[[Any], ProblemError]]
"""By the kind of error, what a client is told of it."""


def problem_of_fault(error: Exception) -> ProblemError:
    """What a client is told of an error that is not the fault of its request; the log has the reason."""
    return translated(error, FAULTS)


def translated(error: Exception, translations: Translations) -> ProblemError:
    """By the closest of its kinds; there is one for any."""
    return next(translations[kind](error) for kind in type(error).__mro__ if kind in translations)


def _from_database(error: DatabaseUnavailableError) -> ProblemError:
    log.error("the database does not answer", reason=str(error))
    return DatabaseUnavailableProblem("the database does not answer; the log of the service has the reason")


def _from_full_database(error: DatabaseFullError) -> ProblemError:
    log.error("the database has no room left", reason=str(error))
    return _full()


def _from_system(error: OSError) -> ProblemError:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return _from_anything(error)
    log.error("the disk has no room left", reason=str(error))
    return _full()


def _full() -> ProblemError:
    return StorageFullProblem("the disk of the service is full; nothing is stored in part")


def _from_anything(error: Exception) -> ProblemError:
    log.error("unhandled error", exc_info=error)
    return InternalProblem("an unexpected fault; the log of the service has the details")


FAULTS: Translations = {
    ProblemError: lambda error: error,
    IndexUnavailableError: lambda error: IndexUnavailableProblem(str(error)),
    RemoteServerError: lambda error: ModelUnavailableProblem(str(error)),
    DatabaseUnavailableError: _from_database,
    DatabaseFullError: _from_full_database,
    OSError: _from_system,
    KeyTakenError: lambda _error: KeyInUseProblem("ask again, for the answer of the other one"),
    EngineClosedError: lambda _error: ShuttingDownProblem("the model has been shut down"),
    Exception: _from_anything,
}
