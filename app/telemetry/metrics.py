"""What is counted and timed as it happens, for Prometheus. No label takes a value that a client makes up."""

from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from app import errors
from app.errors import InternalProblem, ProblemError

End = Literal["stop", "length", "cancelled", "timeout", "failed"]
"""How a generation ended: the model was done, `max_tokens` were reached, somebody ended it, its turn in the
queue did not come, or a fault."""
GenerationKind = Literal["turn", "completion"]

# With each counter and histogram would go the time of its first use, as a series of its own.
disable_created_metrics()  # type: ignore[no-untyped-call]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
"""For methods and addresses that no route has: there is no end to those."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
TOKENS_PER_SECOND = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)


class Metrics:
    """The metrics of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "perdure_http_requests",
            "Requests that were answered, by route",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "perdure_http_request_duration_seconds",
            "Time from a request to the end of its answer, streams to their end",
            ["method", "route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._problems = Counter(
            "perdure_errors", "Errors that clients were told of, by type", ["type"], registry=self.registry
        )
        self._ends = {
            "turn": self._counter_of_ends("perdure_turns", "Turns of chat sessions, by how they ended"),
            "completion": self._counter_of_ends(
                "perdure_completions", "Replies to whole prompts, by how they ended"
            ),
        }
        self._ttft = self._histogram(
            "perdure_time_to_first_token_seconds", "From a message's arrival to the reply's first text"
        )
        self._turn_seconds = self._histogram(
            "perdure_turn_duration_seconds", "From a message's arrival to the stored reply"
        )
        self._queue_seconds = self._histogram(
            "perdure_queue_seconds", "How long a request waited for its turn before it was computed"
        )
        self._prefill = Histogram(
            "perdure_prefill_tokens_per_second",
            "Of each reply: tokens of its prompt computed in a second, those from the cache not counted",
            buckets=TOKENS_PER_SECOND,
            registry=self.registry,
        )
        self._decode = Histogram(
            "perdure_decode_tokens_per_second",
            "Of each reply: tokens after the first, generated in a second",
            buckets=TOKENS_PER_SECOND,
            registry=self.registry,
        )
        for problem in _problems():
            self._problems.labels(problem.slug)  # there from the start, so that the first one is an increase

    def request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """A request was answered by the route of that template; None: there is none."""
        where = (method if method in METHODS else OTHER, route or OTHER)
        self._requests.labels(*where, str(status)).inc()
        self._request_seconds.labels(*where).observe(seconds)

    def problem(self, slug: str) -> None:
        self._problems.labels(slug).inc()

    def queued(self, seconds: float) -> None:
        self._queue_seconds.observe(seconds)

    def prefilled(self, tokens_per_second: float) -> None:
        self._prefill.observe(tokens_per_second)

    def first_token(self, seconds: float) -> None:
        self._ttft.observe(seconds)

    def decoded(self, tokens_per_second: float) -> None:
        self._decode.observe(tokens_per_second)

    def ended(self, kind: GenerationKind, end: End, seconds: float) -> None:
        """A generation ended, that long after it was asked for."""
        self._ends[kind].labels(end).inc()
        if kind == "turn":
            self._turn_seconds.observe(seconds)

    def _counter_of_ends(self, name: str, description: str) -> Counter:
        counter = Counter(name, description, ["end"], registry=self.registry)
        for end in get_args(End):
            counter.labels(end)
        return counter

    def _histogram(self, name: str, description: str) -> Histogram:
        return Histogram(name, description, buckets=SECONDS, registry=self.registry)


def _problems() -> set[type[ProblemError]]:
    found = {
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ProblemError)
    }
    return found - {ProblemError} | {InternalProblem}
