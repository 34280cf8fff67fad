"""The memory strategies of the service, each within the same tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

from evals.harness.chats import Asked, Chat, Said
from evals.harness.errors import EvaluationError
from evals.harness.service import EvaluatedService
from evals.harness.windows import Window

PERSONA_KINDS = ("persona", "examples")
"""Of the segments that tell the persona."""
LEAST_BUDGET = 256
RETENTION_RATIO = 0.7
STRATEGIES = ("sliding_window", "token_buffer", "summary", "summary_buffer", "facts", "vector", "combined")
"""`buffer` is not among them: within its context window it is the control `everything`."""


def check_budgets(budgets: Sequence[int]) -> None:
    """Raises EvaluationError for one that has no room for what every strategy chooses."""
    if small := [budget for budget in budgets if budget < LEAST_BUDGET]:
        raise EvaluationError(f"a budget of {small[0]} tokens is too small; take {LEAST_BUDGET} or more")


class ServedMemory:
    """A strategy of the service, through its API."""

    def __init__(self, service: EvaluatedService, name: str, settings: Mapping[str, Any]) -> None:
        self.name = name
        self.settings = settings
        self._service = service

    def window(self, chat: Chat, asked: Asked) -> Window:
        session_id = self._service.session(chat, self.settings)
        view, took_ms = self._service.context(session_id, asked.content)
        messages: list[Said] = [
            (message["role"], message["content"])
            for segment in view["segments"]
            for message in segment["messages"]
        ]
        of_persona = sum(
            len(segment["messages"]) for segment in view["segments"] if segment["kind"] in PERSONA_KINDS
        )
        tokens = view["prompt_tokens"]
        return Window(messages, tokens, tokens - view["cached_tokens"], took_ms, of_persona)


def within(strategy: str, budget: int, turn_tokens: float) -> dict[str, Any]:
    """Memory settings with which all that a strategy chooses takes `budget` tokens at most.

    `turn_tokens`: of a turn, on average; `sliding_window` counts turns, and its budget is met on average.
    """
    share = budget // 4
    settings: dict[str, dict[str, Any]] = {
        "sliding_window": {
            "turns": max(1, int(RETENTION_RATIO * budget / turn_tokens)),
            "retention_ratio": RETENTION_RATIO,
        },
        "token_buffer": {"token_budget": budget},
        "summary": {"max_summary_tokens": budget},
        "summary_buffer": {"token_budget": budget, "max_summary_tokens": share},
        "facts": {"token_budget": budget, "max_fact_tokens": share},
        "vector": {"token_budget": budget - budget // 2, "recall_tokens": budget // 2},
        "combined": {"token_budget": budget},
    }
    return {"strategy": strategy, **settings[strategy]}
