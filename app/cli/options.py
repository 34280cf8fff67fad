"""Options that several commands have."""

from typing import Annotated

import typer

Url = Annotated[str | None, typer.Option(help="Service to talk to; by default the one of the settings.")]
