"""Runs `perdure eval retention`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.settings import Settings
from evals.harness.controls import CONTROLS
from evals.harness.counting import mean_turn_tokens, service_encoder
from evals.harness.errors import EvaluationError
from evals.harness.memories import asked_of_each, memories, settings_of
from evals.harness.result import Figure, Result, Row, digest, made_result
from evals.harness.service import EvaluatedService
from evals.harness.strategies import STRATEGIES, check_budgets
from evals.harness.windows import Memory
from evals.persona.made import made_pair
from evals.retention.chats import LANGUAGES, RetentionChat, Told, retention_chat
from evals.retention.measure import CURVES, FIGURES, row
from llm.progress import Progress, silent

NOTES = (
    "Every memory has the same budget for all that it chooses: turns, summary, facts and what is recalled. "
    "`sliding_window` counts turns and meets it on average; `everything` and `oracle` have none.",
    "A model that was not trained in a language gives no right answers in it, whatever is in the window.",
    "What does not fit the context window is not scored: `right`, `margin` and `prefers old` leave it out.",
)


@dataclass(frozen=True)
class Plan:
    """What is to be measured. `with_scores`: the model's likelihoods too; `with_replies`: its replies.

    `with_persona`: the facts are told to a character of `eval persona`; `reminder_depth`: with a reminder.
    """

    seeds: int = 3
    turns: int = 200
    budgets: Sequence[int] = (1024,)
    memories: Sequence[str] = (*CONTROLS, *STRATEGIES)
    languages: Sequence[str] = tuple(LANGUAGES)
    with_scores: bool = True
    with_replies: bool = False
    with_persona: bool = False
    reminder_depth: int | None = None

    def __post_init__(self) -> None:
        if unknown := set(self.languages) - LANGUAGES.keys():
            known = ", ".join(LANGUAGES)
            raise EvaluationError(f"there are no chats in {', '.join(sorted(unknown))}; there are {known}")
        if self.reminder_depth is not None and not self.with_persona:
            raise EvaluationError("only a persona has a reminder")
        check_budgets(self.budgets)


def evaluate(
    plan: Plan, service: EvaluatedService, settings: Settings, progress: Progress = silent
) -> Result:
    """Ask for every fact of every chat, of each memory within each budget.

    Raises EvaluationError and ServiceError.
    """
    chats = {
        language: [_chat(seed, language, plan) for seed in range(plan.seeds)] for language in plan.languages
    }
    everything = [each for of_language in chats.values() for each in of_language]
    encoder = service_encoder(service, settings, everything[0].chat, progress)
    asked = sum(len(each.told) for each in everything) * len(plan.budgets) * len(plan.memories)
    rows: list[Row] = []
    made: dict[str, Any] = {}
    for language, of_language in chats.items():
        on_average = mean_turn_tokens(encoder, [each.chat for each in of_language])
        compared = {
            budget: memories(plan.memories, budget, service, encoder, turn_tokens=on_average)
            for budget in plan.budgets
        }
        made[language] = {str(budget): settings_of(of_budget) for budget, of_budget in compared.items()}
        for chat, budget, memory, told in asked_of_each(of_language, compared, lambda chat: chat.told):
            rows.append({"budget": budget, **_row(chat, told, memory, service, plan)})
            progress("asking", len(rows), asked)
    return made_result(
        "retention",
        service.told_models,
        settings,
        task={
            "seeds": plan.seeds,
            "turns": plan.turns,
            "languages": list(plan.languages),
            "chats": digest([each.chat for each in everything]),
        },
        settings={
            "budgets": list(plan.budgets),
            "memories": made,
            "persona": plan.with_persona,
            "reminder_depth": plan.reminder_depth,
        },
        figures=_figures(plan),
        splits=("language", "budget"),
        keys=("chat", "fact"),
        curves=CURVES if plan.with_scores else CURVES[:1],
        notes=NOTES,
        rows=tuple(rows),
    )


def _chat(seed: int, language: str, plan: Plan) -> RetentionChat:
    made = retention_chat(seed, LANGUAGES[language], plan.turns)
    if not plan.with_persona:
        return made
    character = made_pair(language, seed).characters[0]
    persona = character.persona(with_examples=True, reminder_depth=plan.reminder_depth)
    return replace(made, chat=replace(made.chat, persona=persona))


def _row(chat: RetentionChat, told: Told, memory: Memory, service: EvaluatedService, plan: Plan) -> Row:
    return row(chat, told, memory, service, with_scores=plan.with_scores, with_replies=plan.with_replies)


def _figures(plan: Plan) -> tuple[Figure, ...]:
    """Those that were measured."""
    not_measured = set() if plan.with_scores else {"right", "margin", "prefers_old"}
    not_measured |= set() if plan.with_replies else {"exact"}
    return tuple(figure for figure in FIGURES if figure.name not in not_measured)
