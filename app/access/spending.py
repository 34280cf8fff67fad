"""Generations and embeddings on a key's account: what a request may use is checked, what it used is counted.

The allowance of the running request goes by a context variable: between the route and the engine lies the
whole turn, which has no business with keys. Background work asks the engine itself, on nobody's account.
"""

from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar

from app.access.limits import Allowance
from llm.engine.interface import (
    Engine,
    Event,
    Failed,
    Finished,
    Generation,
    GenerationRequest,
    Reservation,
)

ALLOWANCE: ContextVar[Allowance | None] = ContextVar("allowance", default=None)
"""Of the key that the running request came with."""


async def reserve(engine: Engine, request: GenerationRequest) -> Reservation:
    """`engine.reserve`, on the account of the request that asks for it.

    Raises RateLimitProblem, ConcurrencyLimitProblem, and what `engine.reserve` raises.
    """
    reservation = engine.reserve(request)
    try:
        [account] = await open_accounts(1, prompt_tokens=len(request.prompt))
    except BaseException:
        reservation.release()
        raise
    return _MeteredReservation(reservation, account)


async def open_accounts(count: int, *, prompt_tokens: int) -> list["Account"]:
    """Accounts of generations that begin together, with the tokens of all their prompts; all or none.

    For those who reserve by themselves. Raises RateLimitProblem and ConcurrencyLimitProblem.
    """
    allowance = ALLOWANCE.get()
    if allowance is None:
        return [Account() for _ in range(count)]
    places = await allowance.begin_generations(count, prompt_tokens)
    return [Account(allowance, place) for place in places]


async def spend(tokens: int) -> None:
    """Tokens that are embedded, on the account of the running request. Raises RateLimitProblem."""
    if (allowance := ALLOWANCE.get()) is not None:
        await allowance.take_tokens(tokens)


class Account:
    """One generation of the running request, closed once; without a key, of nobody."""

    def __init__(self, allowance: Allowance | None = None, place: str | None = None) -> None:
        self._allowance = allowance
        self._place = place

    def close(self, completion_tokens: int = 0) -> None:
        if self._allowance is not None:
            self._allowance.end_generation(self._place, completion_tokens)
            self._allowance = None


class _MeteredReservation:
    def __init__(self, reservation: Reservation, account: Account) -> None:
        self._reservation = reservation
        self._account = account
        self._is_submitted = False

    def submit(self) -> Generation:
        generation = _MeteredGeneration(self._reservation.submit(), self._account)
        self._is_submitted = True
        return generation

    def release(self) -> None:
        self._reservation.release()
        if not self._is_submitted:
            self._account.close()


class _MeteredGeneration:
    """Closes the account at its end, or when nobody reads it any more."""

    def __init__(self, generation: Generation, account: Account) -> None:
        self._generation = generation
        self._account = account

    @property
    def took_s(self) -> float:
        return self._generation.took_s

    def cancel(self) -> None:
        self._generation.cancel()

    async def __aiter__(self) -> AsyncIterator[Event]:
        try:
            async for event in self._generation:
                self._note(event)
                yield event
        finally:
            self._account.close()

    def __iter__(self) -> Iterator[Event]:
        try:
            for event in self._generation:
                self._note(event)
                yield event
        finally:
            self._account.close()

    def _note(self, event: Event) -> None:
        match event:
            case Finished():
                self._account.close(event.completion_tokens)
            case Failed():
                self._account.close(len(event.token_ids))
