"""Names that people bring along: LangChain's memory classes, with their parameters and defaults.

After langchain-classic 1.0 (`langchain_classic.memory`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from memory.errors import InvalidParametersError, ParameterProblem
from memory.strategies.facts import DEFAULT_FACT_TOKENS
from memory.strategies.summarising import DEFAULT_SUMMARY_TOKENS

WITHOUT_MEANING = frozenset(
    {
        "memory_key",
        "return_messages",
        "human_prefix",
        "ai_prefix",
        "input_key",
        "output_key",
        "chat_history_key",
    }
)
"""Parameters that name variables of a prompt template there; here messages have roles, and no names."""

TOKENS_OF_A_TURN = 200
"""Their entity memory counts turns where ours counts tokens."""


@dataclass(frozen=True, slots=True)
class Alias:
    """A strategy by another name, and the one parameter of theirs that tunes it: `ours` of its value.

    `without_meaning`: further parameters that are passed over.
    """

    strategy: str
    parameter: str | None = None
    default: int = 0
    ours: Callable[[int], dict[str, Any]] = lambda _value: {}
    without_meaning: frozenset[str] = frozenset()


ALIASES = {
    "ConversationBufferMemory": Alias("buffer"),
    "ConversationBufferWindowMemory": Alias("sliding_window", "k", 5, lambda k: {"turns": k}),
    "ConversationTokenBufferMemory": Alias(
        "token_buffer", "max_token_limit", 2000, lambda limit: {"token_budget": limit}
    ),
    "ConversationSummaryMemory": Alias("summary"),
    # Their limit is of the turns alone; the summary comes on top.
    "ConversationSummaryBufferMemory": Alias(
        "summary_buffer",
        "max_token_limit",
        2000,
        lambda limit: {"token_budget": limit + DEFAULT_SUMMARY_TOKENS},
    ),
    "ConversationEntityMemory": Alias(
        "facts", "k", 3, lambda k: {"token_budget": k * TOKENS_OF_A_TURN + DEFAULT_FACT_TOKENS}
    ),
    # Theirs form a document of a prompt's variables; here it is the messages that are recalled.
    "VectorStoreRetrieverMemory": Alias(
        "vector", without_meaning=frozenset({"return_docs", "exclude_input_keys"})
    ),
    "ConversationVectorStoreTokenBufferMemory": Alias(
        "vector",
        "max_token_limit",
        2000,
        lambda limit: {"token_budget": limit},
        without_meaning=frozenset({"split_chunk_size"}),
    ),
}


def without_aliases(settings: dict[str, Any]) -> dict[str, Any]:
    """The same settings by our names. Raises InvalidParametersError for a parameter that is not mapped."""
    alias = ALIASES.get(settings["strategy"])
    if alias is None:
        return settings
    passed_over = WITHOUT_MEANING | alias.without_meaning | {"strategy"}
    given = {name: value for name, value in settings.items() if name not in passed_over}
    ours: dict[str, Any] = {"strategy": alias.strategy}
    if alias.parameter is not None:
        value = given.pop(alias.parameter, alias.default)
        if type(value) is not int:
            raise InvalidParametersError(
                settings["strategy"], [ParameterProblem(alias.parameter, "Input should be a valid integer")]
            )
        ours |= alias.ours(value)
    if given:
        problems = [
            ParameterProblem(name, f"is not mapped to a parameter of {alias.strategy!r}") for name in given
        ]
        raise InvalidParametersError(settings["strategy"], problems)
    return ours
