"""Runs `perdure eval answers`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from app.settings import Settings
from evals.answers.chats import AnswersChat, answers_chat, chosen
from evals.answers.measure import CURVES, FIGURES, row, with_gains
from evals.harness.controls import CONTROLS
from evals.harness.counting import mean_turn_tokens, service_encoder
from evals.harness.errors import EvaluationError
from evals.harness.memories import asked_of_each, memories, settings_of
from evals.harness.result import Result, Row, digest, made_result
from evals.harness.service import EvaluatedService
from evals.harness.strategies import STRATEGIES, check_budgets
from evals.recall.locomo import Conversation, DataError, Skipped, read_locomo
from llm.progress import Progress, silent

QUESTIONS = 300
NOTES = (
    "Every memory has the same budget for all that it chooses: turns, summary, facts and what is recalled. "
    "`sliding_window` counts turns and meets it on average; `everything` and `oracle` have none.",
    "Adversarial questions are left out: they ask for what was never said, and have no right answer.",
    "What is likelier is not yet what the model would say. Figures of two models cannot be compared.",
    "What does not fit the context window is not scored.",
)


@dataclass(frozen=True)
class Plan:
    """What is to be measured. `questions`: how many at most, drawn by `seed`.

    Raises EvaluationError for what cannot be, a file in another format too.
    """

    data: Path
    questions: int = QUESTIONS
    seed: int = 0
    budgets: Sequence[int] = (1024,)
    memories: Sequence[str] = (*(name for name in CONTROLS if name != "everything"), *STRATEGIES)

    def __post_init__(self) -> None:
        check_budgets(self.budgets)
        if not self.chats:
            raise EvaluationError(f"{self.data} has no question with an answer and a line that gives it")

    @cached_property
    def chats(self) -> list[AnswersChat]:
        """With the questions that are asked of them."""
        conversations, _ = self._read
        if len({each.name for each in conversations}) < len(conversations):
            raise EvaluationError(f"{self.data}: two conversations have the same sample_id")
        return chosen([answers_chat(each) for each in conversations], self.questions, self.seed)

    @property
    def skipped(self) -> int:
        """How many questions of the file name no line that answers them."""
        _, skipped = self._read
        return skipped.questions

    @cached_property
    def _read(self) -> tuple[list[Conversation], Skipped]:
        try:
            return read_locomo(self.data)
        except DataError as error:
            raise EvaluationError(str(error)) from error


def evaluate(
    plan: Plan, service: EvaluatedService, settings: Settings, progress: Progress = silent
) -> Result:
    """Ask every question of its conversation, of each memory within each budget.

    Raises EvaluationError and ServiceError.
    """
    chats = plan.chats
    encoder = service_encoder(service, settings, chats[0].chat, progress)
    on_average = mean_turn_tokens(encoder, [each.chat for each in chats])
    compared = {
        budget: memories(plan.memories, budget, service, encoder, turn_tokens=on_average, seed=plan.seed)
        for budget in plan.budgets
    }
    questions = sum(len(each.questions) for each in chats)
    asked = questions * len(plan.budgets) * len(plan.memories)
    rows: list[Row] = []
    for chat, budget, memory, question in asked_of_each(chats, compared, lambda chat: chat.questions):
        rows.append({"budget": budget, **row(chat, question, memory, service, encoder)})
        progress("asking", len(rows), asked)
    return made_result(
        "answers",
        service.told_models,
        settings,
        task={
            "questions": questions,
            "conversations": len(chats),
            "seed": plan.seed,
            "chats": digest([each.chat for each in chats]),
        },
        settings={
            "budgets": list(plan.budgets),
            "memories": {str(budget): settings_of(of_budget) for budget, of_budget in compared.items()},
        },
        figures=FIGURES,
        splits=("budget",),
        keys=("chat", "question"),
        curves=CURVES,
        notes=(*NOTES, *_skipped(plan.skipped)),
        rows=tuple(with_gains(rows)),
    )


def _skipped(questions: int) -> Sequence[str]:
    if not questions:
        return ()
    return (f"{questions} questions name no line that answers them, and are left out.",)
