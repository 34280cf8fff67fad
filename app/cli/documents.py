"""`perdure documents`: files whose text can be recalled."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from app.cli.client import ServiceError, service_client
from app.cli.options import Url
from app.cli.progress import stage_progress

documents = typer.Typer(help="Documents whose text can be recalled.", no_args_is_help=True)

User = Annotated[str | None, typer.Option(help="Whose they are; by default everybody's.")]

LOOK_EVERY_S = 0.5


@documents.command("add")
def add(
    files: Annotated[
        list[Path], typer.Argument(exists=True, dir_okay=False, help="pdf, docx, xlsx, csv ...")
    ],
    user: User = None,
    url: Url = None,
) -> None:
    """Add files, and wait until they have been read. Exits with 1 if any is refused; the others are added."""
    console, refused = Console(), False
    with service_client(url) as client, stage_progress() as progress:
        for file in files:
            try:
                document = client.upload_file("/v1/documents", file, {"user_id": user} if user else {})
                while document["status"] == "processing":
                    progress(file.name, round(100 * document["progress"]), 100)
                    time.sleep(LOOK_EVERY_S)
                    document = client.get(f"/v1/documents/{document['id']}")
            except ServiceError as error:
                document = {"status": "failed", "error": str(error)}
            progress(file.name, 100, 100)
            refused |= document["status"] == "failed"
            said = _line(document) if "id" in document else f"refused: {document['error']}"
            console.print(said, markup=False, highlight=False)
    if refused:
        raise typer.Exit(1)


@documents.command("list")
def list_documents(user: User = None, url: Url = None) -> None:
    """List documents, newest first; of one user, if asked to."""
    params: dict[str, Any] = {"limit": 200} | ({"user_id": user} if user else {})
    with service_client(url) as client:
        while True:
            page = client.get("/v1/documents", **params)
            for document in page["data"]:
                Console().print(_line(document), markup=False, highlight=False, soft_wrap=True)
            if page["next_cursor"] is None:
                return
            params["cursor"] = page["next_cursor"]


@documents.command("delete")
def delete(document_id: str, url: Url = None) -> None:
    """Delete a document with all its pieces."""
    with service_client(url) as client:
        client.delete(f"/v1/documents/{document_id}")


def _line(document: dict[str, Any]) -> str:
    how = {
        "ready": f"{document['pieces']} pieces",
        "processing": f"being read, {document['progress']:.0%}",
        "failed": f"failed: {document['error']}",
    }[document["status"]]
    whose = f", of {document['user_id']}" if document["user_id"] else ""
    return f"{document['id']}  {document['name']}{whose}, {how}"
