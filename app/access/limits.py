"""What a key has left of its limits: of those a minute in buckets, of replies at a time in places.

Buckets fill by the second: a minute's worth may be spent at once, then as it comes back. Written here because
what is charged afterwards (the tokens of a reply) makes a debt, and by a clock that nobody sets back.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence

import structlog

from app.access.principal import KeyLimits, Principal
from app.errors import ConcurrencyLimitProblem, RateLimitProblem
from app.storage.claims import Claims
from app.storage.database import Database
from app.storage.key_usage import KeyUsage, Limited

log = structlog.get_logger()

MINUTE_S = 60.0
Clock = Callable[[], float]


class Bucket:
    """At most `per_minute` in any minute that begins with a full bucket; may be overdrawn."""

    def __init__(self, per_minute: int, clock: Clock = time.monotonic) -> None:
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

    @property
    def wait_s(self) -> float:
        """Seconds until something is there."""
        return max(0.0, (1 - self._filled()) * MINUTE_S / self.per_minute)

    async def take(self, amount: int) -> bool:
        """Charge that much, if anything is there; whether it was."""
        if self.wait_s > 0:
            return False
        await self.charge(amount)
        return True

    async def charge(self, amount: int) -> None:
        self._set(self._filled() - amount)

    def _set(self, level: float) -> None:
        self._level, self._at = level, self._clock()

    def _filled(self) -> float:
        passed = (self._clock() - self._at) * self.per_minute / MINUTE_S
        return min(float(self.per_minute), self._level + passed)


class SharedBucket(Bucket):
    """A bucket that several processes draw on: the database has it, and this its last known level."""

    def __init__(self, per_minute: int, what: Limited, database: Database, owner: str, key_id: str) -> None:
        super().__init__(per_minute)
        self._what = what
        self._database = database
        self._owner = owner
        self._key_id = key_id

    async def take(self, amount: int) -> bool:
        is_taken, level = await self._draw(amount, at_least=1)
        self._set(level)
        return is_taken

    async def charge(self, amount: int) -> None:
        _, level = await self._draw(amount, at_least=None)
        self._set(level)

    async def _draw(self, amount: int, *, at_least: int | None) -> tuple[bool, float]:
        async with self._database.write() as session:
            usage = KeyUsage(session, self._owner)
            return await usage.draw(
                self._key_id, self._what, amount, per_minute=self.per_minute, at_least=at_least
            )


class Allowance:
    """What one key has left."""

    def __init__(
        self,
        key_id: str,
        limits: KeyLimits,
        claims: Claims,
        ending: set[asyncio.Task[None]],
        *,
        requests: Bucket | None,
        tokens: Bucket | None,
    ) -> None:
        self.limits = limits
        self._ending = ending
        self._name = f"generation of {key_id}"
        self._claims = claims
        self._requests = requests
        self._tokens = tokens

    async def take_request(self) -> None:
        """Count a request. Raises RateLimitProblem."""
        if self._requests is not None:
            await _take(self._requests, 1, "requests")

    async def take_tokens(self, tokens: int) -> None:
        """Count tokens that are read and not replied to; they may overdraw, as a prompt may. Raises
        RateLimitProblem."""
        if self._tokens is not None:
            await _take(self._tokens, tokens, "tokens")

    async def begin_generations(self, count: int, prompt_tokens: int) -> Sequence[str | None]:
        """Count generations and what is in their prompts, all or none; gives the place of each, for its end.

        A prompt may overdraw what is left of the minute's tokens, or one larger than a minute's would never
        be taken; then the next waits. Raises RateLimitProblem and ConcurrencyLimitProblem.
        """
        most = self.limits.concurrent_generations
        places: Sequence[str | None] | None = [None] * count
        if most is not None and (places := await self._claims.take_places(self._name, count, most)) is None:
            raise ConcurrencyLimitProblem(
                f"this key may have {most} replies generated at a time",
                headers={"Retry-After": "1"},
                limit=most,
            )
        assert places is not None
        try:
            await self.take_tokens(prompt_tokens)
        except BaseException:
            for place in places:
                await self._leave(place)
            raise
        return places

    def end_generation(self, place: str | None, completion_tokens: int) -> None:
        """Let go of a generation's place and count what was generated, in the background."""
        ending = asyncio.create_task(self._end(place, completion_tokens))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

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

    async def _end(self, place: str | None, completion_tokens: int) -> None:
        try:
            await self._leave(place)
            if self._tokens is not None and completion_tokens:
                await self._tokens.charge(completion_tokens)
        except Exception:
            log.exception("what was generated could not be counted")

    async def _leave(self, place: str | None) -> None:
        if place is not None:
            await self._claims.release(place)


class Allowances:
    """The allowances of all keys, by id. A key whose limits are changed begins anew.

    Where several processes share the database they are counted there, else here.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._allowances: dict[str, Allowance] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def of(self, key_id: str, principal: Principal) -> Allowance:
        limits, allowance = principal.limits, self._allowances.get(key_id)
        if allowance is None or allowance.limits != limits:
            allowance = self._allowances[key_id] = Allowance(
                key_id,
                limits,
                self._database.claims,
                self._ending,
                requests=self._bucket(limits.requests_per_minute, "requests", principal.owner, key_id),
                tokens=self._bucket(limits.tokens_per_minute, "tokens", principal.owner, key_id),
            )
        return allowance

    async def close(self) -> None:
        """Wait for what is still to be counted."""
        if self._ending:
            await asyncio.wait(self._ending)

    def _bucket(self, per_minute: int | None, what: Limited, owner: str, key_id: str) -> Bucket | None:
        if per_minute is None:
            return None
        if not self._database.claims.is_shared:
            return Bucket(per_minute)
        return SharedBucket(per_minute, what, self._database, owner, key_id)


async def _take(bucket: Bucket, amount: int, what: str) -> None:
    if not await bucket.take(amount):
        retry_after_s = max(1, math.ceil(bucket.wait_s))
        raise RateLimitProblem(
            f"this key may use {bucket.per_minute} {what} a minute; try again in {retry_after_s} s",
            headers={"Retry-After": str(retry_after_s)},
            limit=bucket.per_minute,
            limited=what,
            retry_after_s=retry_after_s,
        )
