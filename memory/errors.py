"""Everything that `memory` raises on purpose. Each message names the numbers or the field."""

from dataclasses import dataclass


class MemoryLayerError(Exception):
    """Base of this package's errors."""


class UnknownStrategyError(MemoryLayerError):
    """No strategy is registered under that name."""

    def __init__(self, name: object, known: list[str]) -> None:
        super().__init__(f"unknown strategy {name!r}; known are {', '.join(known)}")
        self.name = name
        self.known = known


@dataclass(frozen=True, slots=True)
class ParameterProblem:
    """One parameter that a strategy does not take: `parameter` is its name, '' for the whole."""

    parameter: str
    problem: str


class InvalidParametersError(MemoryLayerError):
    """A strategy was named with parameters that it does not take."""

    def __init__(self, strategy: str, problems: list[ParameterProblem]) -> None:
        details = "; ".join(
            f"{problem.parameter}: {problem.problem}" if problem.parameter else problem.problem
            for problem in problems
        )
        super().__init__(f"strategy {strategy!r}: {details}")
        self.strategy = strategy
        self.problems = problems


class OverBudgetError(MemoryLayerError):
    """Something does not fit into the context window. `numbers` are the tokens that do not add up."""

    def __init__(self, message: str, **numbers: int) -> None:
        super().__init__(message)
        self.numbers = numbers


class PersonaTooLargeError(OverBudgetError):
    """The persona leaves no room for a turn."""


class PinsTooLargeError(OverBudgetError):
    """The pinned turns leave no room for a turn."""


class MessageTooLargeError(OverBudgetError):
    """The message does not fit beside the persona and the reply, even with no other turn in the window."""


class NotWrittenError(MemoryLayerError):
    """A model could not write what it was asked to; the message says why."""


class SummaryRefusedError(MemoryLayerError):
    """What was to be a summary cannot be used; the message says why."""


class IndexUnavailableError(MemoryLayerError):
    """An index of recall cannot be asked or filled just now; the message says why."""


class WindowFullError(OverBudgetError):
    """The strategy keeps every turn, and they no longer fit."""
