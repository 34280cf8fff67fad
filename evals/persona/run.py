"""Runs `perdure eval persona`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from app.settings import Settings
from evals.dialogues import DialoguesError, read_dialogues
from evals.harness.chats import Chat
from evals.harness.counting import mean_turn_tokens, service_encoder
from evals.harness.errors import EvaluationError
from evals.harness.memories import memories, settings_of
from evals.harness.result import Curve, Result, digest, made_result
from evals.harness.service import EvaluatedService
from evals.harness.strategies import STRATEGIES, check_budgets
from evals.persona.characters import Pair, paired
from evals.persona.contradictions import NliModel
from evals.persona.figures import NOTES, figures
from evals.persona.made import LANGUAGES, made_pair
from evals.persona.measure import Measurement, Talk, Telling, with_change
from evals.persona.people import people
from evals.retention.chats import BEFORE, DEPTHS, retention_chat
from evals.retention.chats import LANGUAGES as TALKED
from llm.progress import Progress, silent

JUDGED_REPLIES = 2
"""Of each character, where there is a judge and nobody said how many."""
SHORTEST = BEFORE + DEPTHS[1]
"""Turns of the shortest chat that there is small talk for."""


@dataclass(frozen=True)
class Plan:
    """`data`: dialogues whose personas are taken, instead of those that are made in `languages`. `seeds`: how
    many chats, in each language.

    `turns`: after how many lines are asked for, from few to many. `budget`: tokens of what a memory chooses.
    `replies`: how many a character generates after each of them. `nli`: a cross-encoder that judges these.
    """

    data: Path | None = None
    languages: Sequence[str] = LANGUAGES
    seeds: int = 3
    turns: Sequence[int] = (5, 50, 100, 200)
    memories: Sequence[str] = ("none", *STRATEGIES)
    budget: int = 1024
    reminder_depths: Sequence[int | None] = (None,)
    examples: Sequence[bool] = (True, False)
    replies: int = 0
    nli: str | None = None

    def __post_init__(self) -> None:
        if unknown := set(self.languages) - set(LANGUAGES):
            known = ", ".join(LANGUAGES)
            raise EvaluationError(f"there are no personas in {', '.join(sorted(unknown))}; there are {known}")
        if not self.turns or list(self.turns) != sorted(set(self.turns)) or self.turns[0] < 1:
            raise EvaluationError(
                "numbers of turns go from few to many, each once, beginning with 1 at least"
            )
        check_budgets([self.budget])

    @property
    def tellings(self) -> list[Telling]:
        return [Telling(*each) for each in product(self.examples, self.reminder_depths)]

    @property
    def generated(self) -> int:
        """Replies of each character, those for the judge included."""
        return self.replies or (JUDGED_REPLIES if self.nli else 0)


def evaluate(
    plan: Plan, service: EvaluatedService, settings: Settings, progress: Progress = silent
) -> Result:
    """Ask for the lines of every character, of each memory, after each number of turns.

    Raises EvaluationError and ServiceError.
    """
    judge = NliModel(plan.nli) if plan.nli else None
    talks = [_talk(seed, pair, plan) for seed, pair in _pairs(plan)]
    short = Chat(talks[0].pair.name, talks[0].turns[:SHORTEST])
    encoder = service_encoder(service, settings, short, progress)
    compared = {
        language: memories(
            plan.memories,
            plan.budget,
            service,
            encoder,
            turn_tokens=mean_turn_tokens(
                encoder, [_chat(talk) for talk in talks if talk.pair.language == language]
            ),
        )
        for language in dict.fromkeys(talk.pair.language for talk in talks)
    }
    measurement = Measurement(service, compared, plan.generated, judge)
    rows = measurement.rows(talks, plan.turns, plan.tellings, progress)
    return made_result(
        "persona",
        service.told_models,
        settings,
        task={
            "personas": plan.data.name if plan.data else "made from seeds",
            "seeds": plan.seeds,
            "turns": list(plan.turns),
            "chats": digest([_chat(talk) for talk in talks]),
        },
        settings={
            "budget": plan.budget,
            "memories": {language: settings_of(of_language) for language, of_language in compared.items()},
            "replies": plan.generated,
            "nli": plan.nli,
        },
        figures=figures(plan.turns, with_replies=plan.generated > 0, with_judge=judge is not None),
        splits=("language", "reminder", "examples"),
        keys=("chat", "turn", "line"),
        curves=(
            Curve(title="Own lines, over the chat", x="turn", x_title="turns", figure="likelier"),
            Curve(title="By how much, over the chat", x="turn", x_title="turns", figure="margin"),
        ),
        notes=NOTES,
        rows=tuple(with_change(rows, plan.turns)),
    )


def _pairs(plan: Plan) -> Iterator[tuple[int, Pair]]:
    """The pairs of characters, each with the seed of what is talked about."""
    if plan.data is None:
        for language, seed in product(plan.languages, range(plan.seeds)):
            yield seed, made_pair(language, seed)
        return
    try:
        found = people(read_dialogues(plan.data), seed=0)
    except DialoguesError as error:
        raise EvaluationError(str(error)) from error
    if len(found) < 2 * plan.seeds:
        raise EvaluationError(
            f"{plan.data} has {len(found)} personas with lines of their own; each chat needs two, and there "
            f"are {plan.seeds}"
        )
    yield from enumerate(paired(found[: 2 * plan.seeds], "people"))


def _talk(seed: int, pair: Pair, plan: Plan) -> Talk:
    turns = max(SHORTEST, *plan.turns)
    return Talk(pair, retention_chat(seed, TALKED[pair.language], turns).chat.turns)


def _chat(talk: Talk) -> Chat:
    """The chat that two characters talk in, without either."""
    return Chat(talk.pair.name, talk.turns)
