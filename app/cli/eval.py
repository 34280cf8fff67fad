"""`perdure eval`: does it remember? What is measured, and how, is in `evals`."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.markup import escape

from app.cli.progress import stage_progress
from app.settings import Settings
from llm.progress import Progress

if TYPE_CHECKING:
    from evals.harness.result import Result
    from evals.harness.service import EvaluatedService

T = TypeVar("T")

evaluations = typer.Typer(help="Measure what is remembered.", no_args_is_help=True)

Url = Annotated[str | None, typer.Option(help="A running service; else one is started, with an empty home.")]
Key = Annotated[str | None, typer.Option(help="The API key for it; by default PERDURE_API_KEY.")]
Conversations = Annotated[
    Path, typer.Option("--data", exists=True, dir_okay=False, help="Conversations in LoCoMo's format.")
]
Budgets = Annotated[list[int] | None, typer.Option(help="Tokens of the window; may be repeated. 1,024.")]
Memories = Annotated[
    str | None,
    typer.Option(help="Names of strategies, controls and peers, with commas; by default all but peers."),
]
Peers = Annotated[bool, typer.Option("--peers", help="Beside them all peers but `mem0`; the extra `peers`.")]
Seeds = Annotated[int, typer.Option(min=1, help="How many chats in each language.")]
LanguageNames = Annotated[list[str] | None, typer.Option(help="English or Korean; may be repeated. Both.")]
JsonFile = Annotated[Path | None, typer.Option("--json", dir_okay=False, help="Write the result there.")]
HtmlFile = Annotated[
    Path | None, typer.Option("--html", dir_okay=False, help="Write a report with plots there.")
]


@evaluations.callback()
def _group() -> None:
    """Measure what is remembered."""


@evaluations.command()
def retention(
    seeds: Seeds = 3,
    turns: Annotated[int, typer.Option(min=1, help="Turns of a chat.")] = 200,
    budget: Budgets = None,
    memories: Memories = None,
    peers: Peers = False,
    language: LanguageNames = None,
    scores: Annotated[
        bool, typer.Option("--scores/--no-scores", help="Ask the model how likely the answers are.")
    ] = True,
    replies: Annotated[bool, typer.Option("--replies", help="Have it answer, too.")] = False,
    persona: Annotated[bool, typer.Option("--persona", help="Tell the facts to a character.")] = False,
    reminder_depth: Annotated[
        int | None, typer.Option(min=0, help="Turns between the character's reminder and the question.")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: JsonFile = None,
    html: HtmlFile = None,
) -> None:
    """Facts told, changed and taken back in generated chats: which of them are in the window, and used."""
    from evals.retention.run import Plan, evaluate

    with _told():
        plan = Plan(
            seeds=seeds,
            turns=turns,
            budgets=_each_once(budget) or Plan.budgets,
            memories=_compared(memories, Plan.memories, peers),
            languages=_each_once(language) or Plan.languages,
            with_scores=scores,
            with_replies=replies,
            with_persona=persona,
            reminder_depth=reminder_depth,
        )
        _give(_result(evaluate, plan, url, key), as_json, html)


@evaluations.command()
def persona(
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Dialogues whose personas are taken, in the format of Synthetic-Persona-Chat or ConvAI2; "
            "else personas are made.",
        ),
    ] = None,
    language: LanguageNames = None,
    seeds: Seeds = 3,
    turns: Annotated[str, typer.Option(help="After how many turns lines are asked for.")] = "5,50,100,200",
    budget: Annotated[int, typer.Option(help="Tokens of the window.")] = 1024,
    memories: Memories = None,
    peers: Peers = False,
    reminder_depths: Annotated[
        str, typer.Option(help="Turns between a reminder and the message, or `none` for none.")
    ] = "none",
    examples: Annotated[
        bool | None, typer.Option("--examples/--no-examples", help="Only with examples, or only without.")
    ] = None,
    replies: Annotated[
        int, typer.Option(min=0, help="Replies that each character generates, to check its rule of speech.")
    ] = 0,
    nli: Annotated[
        str | None,
        typer.Option(help="A CrossEncoder that finds contradictions in replies: folder or hub id."),
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: JsonFile = None,
    html: HtmlFile = None,
) -> None:
    """A persona's own lines, early in a chat and late: likelier under it than under another persona?"""
    from evals.persona.run import Plan, evaluate

    with _told():
        plan = Plan(
            data=data,
            languages=_each_once(language) or Plan.languages,
            seeds=seeds,
            turns=sorted(_number(name, "--turns") for name in _names(turns)),
            budget=budget,
            memories=_compared(memories, Plan.memories, peers),
            reminder_depths=[
                None if name == "none" else _number(name, "--reminder-depths")
                for name in _names(reminder_depths)
            ]
            or Plan.reminder_depths,
            examples=(True, False) if examples is None else (examples,),
            replies=replies,
            nli=nli,
        )
        _give(_result(evaluate, plan, url, key), as_json, html)


@evaluations.command()
def recall(
    data: Conversations,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    result_file: Annotated[
        Path | None, typer.Option("--result", dir_okay=False, help="Write the result there, for `compare`.")
    ] = None,
    html: HtmlFile = None,
    url: Annotated[
        str | None, typer.Option(help="A running service; else its indexes are asked, without one.")
    ] = None,
    key: Key = None,
) -> None:
    """The share of the turns that answer a question which recall finds, by strategy and category."""
    from evals.harness.report.html import write_html
    from evals.harness.service import evaluated_service
    from evals.recall.locomo import DataError
    from evals.recall.report import show
    from evals.recall.result import result_of
    from evals.recall.run import evaluate

    settings = Settings()
    with _told():
        try:
            with (
                stage_progress() as progress,
                evaluated_service(settings, url, _secret(key)) if url else nullcontext() as service,
            ):
                report = evaluate(data, settings, progress=progress, service=service)
        except DataError as error:
            raise typer.BadParameter(str(error), param_hint="--data") from error
        result = result_of(report, settings)
        if result_file:
            result.write(result_file)
        if as_json:
            typer.echo(json.dumps(report.as_dict()))
        else:
            show(report, Console())
        if html:
            write_html(result, html)


@evaluations.command()
def answers(
    data: Conversations,
    questions: Annotated[int, typer.Option(min=1, help="How many at most.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="By which the questions are drawn.")] = 0,
    budget: Budgets = None,
    memories: Memories = None,
    peers: Peers = False,
    url: Url = None,
    key: Key = None,
    as_json: JsonFile = None,
    html: HtmlFile = None,
) -> None:
    """How likely the model finds the right answers to questions about chats, by what is in the window."""
    from evals.answers.run import Plan, evaluate

    with _told():
        plan = Plan(
            data=data,
            questions=questions,
            seed=seed,
            budgets=_each_once(budget) or Plan.budgets,
            memories=_compared(memories, Plan.memories, peers),
        )
        _give(_result(evaluate, plan, url, key), as_json, html)


@evaluations.command()
def compare(
    before: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Written with --json.")],
    after: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Likewise, of the same.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """What changed from one result to another, and what of that is more than chance."""
    from evals.compare import compare as compared
    from evals.compare import show
    from evals.harness.result import read_result

    with _told():
        comparison = compared(read_result(before), read_result(after))
    if as_json:
        typer.echo(json.dumps(comparison.as_dict()))
    else:
        show(comparison, Console())


def _result(
    evaluate: "Callable[[T, EvaluatedService, Settings, Progress], Result]",
    plan: T,
    url: str | None,
    key: str | None,
) -> "Result":
    """What is found by asking the service at that address, or one that is started for it."""
    from evals.harness.service import evaluated_service

    settings = Settings()
    with (
        stage_progress() as progress,
        evaluated_service(settings, url, _secret(key), progress) as service,
    ):
        return evaluate(plan, service, settings, progress)


def _secret(key: str | None) -> SecretStr | None:
    return SecretStr(key) if key else None


def _names(memories: str | None) -> tuple[str, ...]:
    return _each_once(name.strip() for name in memories.split(",")) if memories else ()


def _compared(memories: str | None, by_default: Iterable[str], peers: bool) -> tuple[str, ...]:
    from evals.peers.catalog import ANY_MODEL

    return _each_once((*(_names(memories) or by_default), *(ANY_MODEL if peers else ())))


def _number(text: str, option: str) -> int:
    if not text.isdecimal():
        raise typer.BadParameter(f"{text!r} is no number of turns", param_hint=option)
    return int(text)


def _each_once(values: Iterable[T] | None) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values or ()))


def _give(result: "Result", as_json: Path | None, html: Path | None) -> None:
    """The tables on the terminal, and the files that are wanted. The result first: a plot may fail."""
    from evals.harness.report.html import write_html
    from evals.harness.report.text import show

    if as_json:
        result.write(as_json)
    show(result, Console())
    if html:
        write_html(result, html)


@contextmanager
def _told() -> Iterator[None]:
    """What keeps an evaluation from going on is said in a line."""
    from evals.harness.errors import EvaluationError

    try:
        yield
    except EvaluationError as error:
        Console(stderr=True).print(f"[red]error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
