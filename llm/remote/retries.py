"""Further tries of a request that a server has not begun to answer: when, and after what wait."""

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential_jitter,
)

from llm.errors import RemoteUnavailableError

LONGEST_WAIT_S = 30.0

_backoff = wait_exponential_jitter(multiplier=0.25, max=8.0, jitter=0.25)


def retrying(retries: int, may_retry: Callable[[], bool] = lambda: True) -> AsyncRetrying:
    """Up to `retries` further tries after RemoteUnavailableError, as long as `may_retry()`."""
    return AsyncRetrying(
        stop=stop_after_attempt(retries + 1),
        wait=_wait_s,
        retry=retry_if_exception(lambda error: isinstance(error, RemoteUnavailableError) and may_retry()),
        reraise=True,
    )


def retry_after_s(response: httpx.Response) -> float | None:
    """The `Retry-After` of a response in seconds (RFC 9110, section 10.2.3); None if it has no valid one."""
    value = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_s if isinstance(error, RemoteUnavailableError) else None
    return min(LONGEST_WAIT_S, _backoff(state) if asked is None else asked)
