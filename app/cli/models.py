"""`perdure models`: the packaged models, and fetching them."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.cli.progress import stage_progress
from app.settings import Settings, SettingsError

models = typer.Typer(
    help="List the models that come as packages, or fetch them.", invoke_without_command=True
)


@models.callback()
def list_models(context: typer.Context) -> None:
    """List the models that come as packages, and which of them are here."""
    if context.invoked_subcommand is not None:
        return
    from llm.packages import PACKAGED_MODELS, is_fetched

    settings = Settings()
    in_use = settings.model if settings.remote_url is None else None
    table = Table("name", "for", "what it is", "licence", "MB", "here")
    for model in PACKAGED_MODELS.values():
        here = is_fetched(model, settings.models_folder / model.name)
        table.add_row(
            model.name + (" (in use)" if model.name == in_use else ""),
            model.use,
            model.about,
            model.licence,
            f"{model.wheel_bytes / 1e6:.0f}",
            "yes" if here else "no",
        )
    console = Console()
    console.print(table)
    console.print(
        f"Model folder: {settings.models_folder}. PERDURE_MODEL also takes the path of a GGUF file or of a "
        "safetensors folder, or a hub id such as owner/name.",
        highlight=False,
    )
    if in_use is not None:
        _show_quality(in_use, settings.models_folder, console)


@models.command()
def measure(
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Chat text: dialogues in the format of Synthetic-Persona-Chat."
        ),
    ] = None,
    chats: Annotated[int, typer.Option(min=1, help="How many chats to measure on.")] = 12,
) -> None:
    """Measure what each number format costs the model in use in quality (minutes)."""
    from evals.quality import Sizes
    from evals.quality import measure as measure_formats

    settings = Settings()
    if settings.remote_url is not None:
        raise SettingsError("PERDURE_REMOTE_URL is set: the model runs elsewhere and cannot be measured here")
    with stage_progress() as progress:
        measure_formats(settings.model, settings.models_folder, data, Sizes(chats=chats), progress)
    _show_quality(settings.model, settings.models_folder, Console())


def _show_quality(model: str, models_folder: Path, console: Console) -> None:
    from evals.quality import known_quality

    known = known_quality(model, models_folder)
    if known is None:
        console.print(
            "What the number formats cost in quality has not been measured: perdure models measure",
            highlight=False,
            soft_wrap=True,
        )
        return
    text, formats = known
    table = Table(
        "number format",
        "KL, nats a token",
        "largest logit difference",
        "same likeliest token",
        "same greedy replies",
        "first difference",
        title=f"{model} beside its float32 weights, on {text}",
    )
    for name, quality in formats.items():
        first = quality.median_first_difference
        table.add_row(
            name,
            f"{quality.mean_divergence:.2g}",
            f"{quality.largest_logit_difference:.2g}",
            f"{quality.greedy_agreement:.1%}",
            f"{quality.same_replies} of {quality.replies}",
            "none" if first is None else f"token {first:g}",
        )
    console.print(table)


@models.command()
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names, paths or hub ids; none: all that the service uses.")
    ] = None,
) -> None:
    """Fetch models, check them, and make them ready to load."""
    from llm.catalog import EMBEDDING_MODEL, ensure_model

    settings = Settings()
    console = Console()
    own = [settings.model] if settings.remote_url is None else []
    for name in names or [*own, EMBEDDING_MODEL]:
        with stage_progress() as progress:
            folder = ensure_model(name, settings.models_folder, progress)
        console.print(f"{name} is ready in {folder}", highlight=False, soft_wrap=True)
