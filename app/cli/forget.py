"""`perdure forget`: delete a message, a chat session or a user for good, and see the receipt."""

import time
from typing import Annotated, Literal
from urllib.parse import quote

import typer
from rich.console import Console

from app.cli.client import service_client
from app.cli.options import Url

LOOK_S = 0.1


def forget(
    kind: Annotated[Literal["message", "session", "user"], typer.Argument(help="What it is.")],
    name: Annotated[str, typer.Argument(metavar="ID", help="Its id; of a user the name that sessions have.")],
    url: Url = None,
) -> None:
    """Delete a message, a chat session or a user for good; wait until no copy is left, and show it."""
    console, told = Console(highlight=False), Console(stderr=True, highlight=False)
    with service_client(url) as client:
        receipt = client.delete(f"/v1/{kind}s/{quote(name, safe='')}")
        waits_for = None
        while receipt["status"] != "done":
            if receipt["waits_for"] != waits_for:
                waits_for = receipt["waits_for"]
                told.print(f"{receipt['id']} waits: {waits_for}", markup=False)
            time.sleep(LOOK_S)
            receipt = client.get(f"/v1/deletions/{receipt['id']}")
    console.print(f"{receipt['id']}  {receipt['kind']} deleted, {receipt['done_at']}", markup=False)
    for store, count in receipt["stores"].items():
        console.print(f"{store:16} {count['removed']:6} removed {count['remaining']:6} left", markup=False)
