"""What `perdure eval recall` found, as all evaluations write it: for `eval compare`, and as HTML."""

from app.settings import Settings
from evals.harness.result import Figure, Result, Steps, made_result
from evals.recall.measure import (
    BUDGETS,
    SESSIONS,
    TURNS,
    all_sessions,
    any_session,
    in_tokens,
    in_turns,
)
from evals.recall.report import Report, category_name

NOTES = (
    "`newest` takes the newest turns, `dense` and `lexical` one index alone, `fused` is what the service "
    "does; `served` asked a running service, over HTTP, of which a search gives 100 passages at most.",
)


def _share(name: str, meaning: str) -> Figure:
    return Figure(name=name, title=name, unit="%", better="higher", meaning=meaning)


FIGURES = (
    *(_share(in_turns(top), f"Evidence among the first {top} turns that are found.") for top in TURNS),
    *(
        figure
        for top in SESSIONS
        for figure in (
            _share(any_session(top), f"Questions with a session of the evidence among the first {top}."),
            _share(all_sessions(top), f"Questions with all sessions of the evidence among the first {top}."),
        )
    ),
    *(
        _share(in_tokens(budget), f"Evidence in what the model reads, filled to {budget} tokens.")
        for budget in BUDGETS
    ),
    Figure(
        name="took_ms",
        title="a query",
        unit="ms",
        better="lower",
        meaning="How long a search took, with the embedding of the question.",
    ),
)
FOUND = "Evidence that is found"
PLOTS = (
    Steps(title=FOUND, x_title="tokens", at={in_tokens(budget): budget for budget in BUDGETS}),
    Steps(title=FOUND, x_title="turns", at={in_turns(top): top for top in TURNS}),
)


def result_of(report: Report, own: Settings) -> Result:
    """A row for each question and strategy. `own`: the settings that it was run with."""
    told = dict(report.settings)
    task = {name: told.pop(name) for name in ("data", "conversations", "turns")}
    models = {name: told.pop(name) for name in ("embedding model", "tokeniser")}
    return made_result(
        "recall",
        models,
        own,
        task=task | {"questions skipped": report.skipped.questions},
        settings=told,
        figures=FIGURES,
        splits=("category",),
        has_total=True,
        keys=("chat", "question"),
        curves=PLOTS,
        notes=NOTES,
        rows=tuple(
            {
                "chat": answer.conversation,
                "memory": answer.strategy,
                "category": category_name(answer.category),
                "question": answer.number,
                **answer.figures,
                "took_ms": answer.took_ms,
            }
            for answer in report.answers
        ),
    )
