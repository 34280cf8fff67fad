"""The strategies by name. To add one: write its file, and name its class here."""

from typing import Any

from pydantic import ValidationError

from memory.errors import InvalidParametersError, ParameterProblem, UnknownStrategyError
from memory.strategies.aliases import ALIASES, without_aliases
from memory.strategies.base import Strategy
from memory.strategies.buffer import Buffer
from memory.strategies.combined import Combined
from memory.strategies.facts import Facts
from memory.strategies.sliding_window import SlidingWindow
from memory.strategies.summary import RunningSummary
from memory.strategies.summary_buffer import SummaryBuffer
from memory.strategies.token_buffer import TokenBuffer
from memory.strategies.vector import Vector

STRATEGIES: dict[str, type[Strategy]] = {
    strategy.model_fields["strategy"].default: strategy
    for strategy in (
        Buffer,
        SlidingWindow,
        TokenBuffer,
        RunningSummary,
        SummaryBuffer,
        Facts,
        Vector,
        Combined,
    )
}


def parse_strategy(settings: dict[str, Any]) -> Strategy:
    """The strategy of `{"strategy": name, **parameters}`, by our names or by LangChain's.

    Raises UnknownStrategyError, or InvalidParametersError which names each parameter that is wrong.
    """
    name = settings.get("strategy")
    if not isinstance(name, str) or name not in STRATEGIES | ALIASES:
        raise UnknownStrategyError(name, [*STRATEGIES, *ALIASES])
    settings = without_aliases(settings)
    name = settings["strategy"]
    try:
        return STRATEGIES[name].model_validate(settings)
    except ValidationError as error:
        problems = [
            ParameterProblem(
                ".".join(str(part) for part in detail["loc"]), detail["msg"].removeprefix("Value error, ")
            )
            for detail in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise InvalidParametersError(name, problems) from None
