"""What came of the request that is being answered: noted where it is known, told where the request ends."""

from contextvars import ContextVar
from dataclasses import dataclass

from app.errors import ProblemError


@dataclass(slots=True)
class Outcome:
    """`problem`: the type of the problem that the client was told of, in the answer or in a stream."""

    problem: str | None = None


_outcome: ContextVar[Outcome | None] = ContextVar("outcome", default=None)


def new_outcome() -> Outcome:
    """The outcome of the request that begins here."""
    outcome = Outcome()
    _outcome.set(outcome)
    return outcome


def note_problem(problem: ProblemError) -> None:
    """The client of this request is told of the problem."""
    if (outcome := _outcome.get()) is not None:
        outcome.problem = problem.slug
