"""`perdure export` and `perdure import`: chats and personas as files."""

import json
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console

from app.cli.chat import parse_memory
from app.cli.client import service_client
from app.cli.options import Url
from app.transfer.formats import Format, WrittenFormat


def export_chat(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[SESSION|PERSONA] FILE",
            help="A session or persona and where to write it; with --user or --all only where.",
        ),
    ],
    user: Annotated[
        str | None, typer.Option(help="All of this user: sessions with their personas, documents.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All sessions, personas and documents.")] = False,
    file_format: Annotated[
        WrittenFormat, typer.Option("--format", help="`perdure` has all of a chat, others as it stands.")
    ] = "perdure",
    url: Url = None,
) -> None:
    """Write a chat session, a persona, all of a user's or everything to a file."""
    *asked, file = names
    if len(asked) + (user is not None) + everything != 1:
        raise typer.BadParameter(
            "give a session or a persona, or --user, or --all; then a file", param_hint="NAMES"
        )
    params: dict[str, str] = {}
    if asked and not asked[0].startswith("per_"):
        path = f"sessions/{quote(asked[0], safe='')}/export"
        params["format"] = file_format
    elif file_format != "perdure":
        raise typer.BadParameter("only a session is written in other formats", param_hint="--format")
    else:
        kind, name = ("personas", asked[0]) if asked else ("users", user)
        path = "export" if name is None else f"{kind}/{quote(name, safe='')}/export"
    with service_client(url) as client:
        client.save(f"/v1/{path}", params, Path(file))


def import_chats(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="What another program exported.")],
    file_format: Annotated[
        Format | None, typer.Option("--format", help="By default recognised by how the file begins.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Memory settings for all chats in it: 'strategy name=value ...'.")
    ] = None,
    lossy: Annotated[
        bool, typer.Option(help="Of OpenAI's messages, leave out what is no text; else it is refused.")
    ] = False,
    url: Url = None,
) -> None:
    """Make chat sessions and personas of a file, all that is in it or nothing."""
    params = {"format": file_format or "auto", "lossy": str(lossy).lower()}
    if memory:
        params["memory"] = json.dumps(parse_memory(memory))
    with service_client(url) as client:
        made = client.upload("/v1/import", file.read_bytes(), params)
    console = Console(soft_wrap=True)
    for session in made["sessions"]:
        title = f"  {session['title']}" if session["title"] else ""
        console.print(f"{session['id']}  {session['messages']} messages{title}", markup=False)
    for persona in made["personas"]:
        console.print(f"{persona['id']}  persona", markup=False)
    for document in made["documents"]:
        note = "  (was there)" if document["was_there"] else ""
        console.print(f"{document['id']}  {document['name']}{note}", markup=False)
    for what, count in made["left_out"].items():
        console.print(f"left out: {what}, {count} times", markup=False)
