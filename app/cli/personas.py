"""`perdure personas`: character cards in and out."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from app.cli.client import service_client
from app.cli.options import Url

personas = typer.Typer(help="Personas from character cards, and cards of personas.", no_args_is_help=True)


@personas.command("import")
def import_card(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Character card, JSON or PNG.")],
    url: Url = None,
) -> None:
    """Create a persona from a character card (V2 or V3)."""
    with service_client(url) as client:
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
    suffix = file.suffix.lower()
    if suffix not in (".json", ".png"):
        raise typer.BadParameter("the name must end with .json or .png", param_hint="FILE")
    if picture is not None and suffix != ".png":
        raise typer.BadParameter("only a card in a .png has a picture", param_hint="--picture")
    path = f"/v1/personas/{persona_id}/card"
    params: dict[str, str] = {"spec": spec} if spec else {}
    with service_client(url) as client:
        if picture is not None:
            card = client.download("POST", path, params, picture.read_bytes())
        else:
            card = client.download("GET", path, params | {"format": suffix[1:]})
    file.write_bytes(card)
