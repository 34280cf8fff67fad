"""What a key has left of its limits, counted in this process.

Buckets that fill by the second: a minute's worth may be spent at once, then as it comes back. Written here
because what is charged afterwards (the tokens of a reply) makes a debt, and by a clock that nobody sets back.
"""

import math
import time
from collections.abc import Callable

from app.access.principal import KeyLimits
from app.errors import ConcurrencyLimitProblem, RateLimitProblem

MINUTE_S = 60.0
Clock = Callable[[], float]


class Bucket:
    """At most `per_minute` in any minute that begins with a full bucket; may be overdrawn by `charge`."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute)
        self._at = clock()

    @property
    def remaining(self) -> int:
        return max(0, math.floor(self._filled()))

    @property
    def full_in_s(self) -> float:
        return (self.per_minute - self._filled()) * MINUTE_S / self.per_minute

    def wait_s(self, amount: int) -> float:
        """Seconds until that much is there; of more than fits, until the bucket is full."""
        lacking = min(amount, self.per_minute) - self._filled()
        return max(0.0, lacking * MINUTE_S / self.per_minute)

    def charge(self, amount: int) -> None:
        self._level = self._filled() - amount

    def _filled(self) -> float:
        now = self._clock()
        self._level = min(float(self.per_minute), self._level + (now - self._at) * self.per_minute / MINUTE_S)
        self._at = now
        return self._level


class Allowance:
    """What one key has left. Used on the event loop only."""

    def __init__(self, limits: KeyLimits, clock: Clock = time.monotonic) -> None:
        self.limits = limits
        self._requests = _bucket(limits.requests_per_minute, clock)
        self._tokens = _bucket(limits.tokens_per_minute, clock)
        self._generations = 0

    def take_request(self) -> None:
        """Count a request. Raises RateLimitProblem."""
        if self._requests is not None:
            _refuse_if_short(self._requests, 1, "requests")
            self._requests.charge(1)

    def begin_generations(self, count: int, prompt_tokens: int) -> None:
        """Count generations and what is in their prompts, all or none, until `end_generation` of each.

        A prompt may overdraw what is left of the minute's tokens, or one larger than a minute's would never
        be taken; then the next waits. Raises RateLimitProblem and ConcurrencyLimitProblem.
        """
        most = self.limits.concurrent_generations
        if most is not None and self._generations + count > most:
            raise ConcurrencyLimitProblem(
                f"this key may have {most} replies generated at a time",
                headers={"Retry-After": "1"},
                limit=most,
            )
        if self._tokens is not None:
            _refuse_if_short(self._tokens, 1, "tokens")
            self._tokens.charge(prompt_tokens)
        self._generations += count

    def end_generation(self, completion_tokens: int) -> None:
        if self._tokens is not None:
            self._tokens.charge(completion_tokens)
        self._generations -= 1

    def headers(self) -> dict[str, str]:
        """`X-RateLimit-*`, in the form that clients of OpenAI-like services read: by what is counted, times
        as `12s`. The draft of the IETF (RateLimit) has changed its form several times, and none reads it."""
        headers: dict[str, str] = {}
        for what, bucket in (("Requests", self._requests), ("Tokens", self._tokens)):
            if bucket is not None:
                headers |= {
                    f"X-RateLimit-Limit-{what}": str(bucket.per_minute),
                    f"X-RateLimit-Remaining-{what}": str(bucket.remaining),
                    f"X-RateLimit-Reset-{what}": f"{math.ceil(bucket.full_in_s)}s",
                }
        return headers


class Allowances:
    """The allowances of all keys, by id. A key whose limits are changed begins anew."""

    def __init__(self) -> None:
        self._allowances: dict[str, Allowance] = {}

    def of(self, key_id: str, limits: KeyLimits) -> Allowance:
        allowance = self._allowances.get(key_id)
        if allowance is None or allowance.limits != limits:
            allowance = self._allowances[key_id] = Allowance(limits)
        return allowance


def _bucket(per_minute: int | None, clock: Clock) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute, clock)


def _refuse_if_short(bucket: Bucket, amount: int, what: str) -> None:
    wait_s = bucket.wait_s(amount)
    if wait_s > 0:
        retry_after_s = max(1, math.ceil(wait_s))
        raise RateLimitProblem(
            f"this key may use {bucket.per_minute} {what} a minute; try again in {retry_after_s} s",
            headers={"Retry-After": str(retry_after_s)},
            limit=bucket.per_minute,
            limited=what,
            retry_after_s=retry_after_s,
        )
