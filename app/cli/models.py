"""`perdure models`: the packaged models, and fetching them."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.cli.progress import stage_progress
from app.settings import Settings

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
