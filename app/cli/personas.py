"""`perdure personas`: character cards in and out."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from app.settings import Settings

personas = typer.Typer(help="Personas from character cards, and cards of personas.", no_args_is_help=True)

Url = Annotated[str | None, typer.Option(help="Service to talk to; by default the one of the settings.")]


@personas.command("import")
def import_card(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Character card, JSON or PNG.")],
    url: Url = None,
) -> None:
    """Create a persona from a character card (V2 or V3)."""
    from app.cli.client import service_client

    with service_client(Settings(), url) as (client, _):
        persona = client.upload("/v1/personas/import", file.read_bytes())
    Console().print(f"{persona['id']}  {persona['name']}, {persona['tokens']} tokens", markup=False)


@personas.command("export")
def export_card(
    persona_id: str,
    file: Annotated[Path, typer.Argument(dir_okay=False, help="Where to: `.json` or `.png`.")],
    spec: Annotated[
        Literal["v2", "v3"] | None, typer.Option(help="By default the format of the import, or V2.")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="PNG to put the card into; else a plain one."),
    ] = None,
    url: Url = None,
) -> None:
    """Write a persona as a character card."""
    from app.cli.client import service_client

    suffix = file.suffix.lower()
    if suffix not in (".json", ".png"):
        raise typer.BadParameter("the name must end with .json or .png", param_hint="FILE")
    if picture is not None and suffix != ".png":
        raise typer.BadParameter("only a card in a .png has a picture", param_hint="--picture")
    path = f"/v1/personas/{persona_id}/card"
    params: dict[str, str] = {"spec": spec} if spec else {}
    with service_client(Settings(), url) as (client, _):
        if picture is not None:
            card = client.download("POST", path, params, picture.read_bytes())
        else:
            card = client.download("GET", path, params | {"format": suffix[1:]})
    file.write_bytes(card)
