"""`perdure reindex`: what is derived for recall is made anew from the messages."""

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from app.cli.progress import stage_progress
from app.settings import Settings

if TYPE_CHECKING:
    from app.cli.client import Json, ServiceClient

LOOK_S = 0.5


def reindex(
    user: Annotated[str | None, typer.Option(help="Only what this user has said and been told.")] = None,
    url: Annotated[
        str | None, typer.Option(help="A running service. Without: the local one, or none.")
    ] = None,
) -> None:
    """Make the indexes of recall anew. Cut off, the next run goes on."""
    from app.cli.client import ServiceClient, ServiceError
    from app.home import claim_home
    from app.recall.reindexing import reindex as reindex_here

    settings = Settings()
    client = ServiceClient(url or f"http://{settings.host}:{settings.port}", settings.api_key)
    if client.is_ready():
        passages = _by_service(client, user)
    elif url:
        raise ServiceError({"detail": f"no service is ready at {url}"})
    else:
        with claim_home(settings.home), stage_progress() as progress:
            done = asyncio.run(reindex_here(settings, user, progress))
        passages = done.passages
        if done.was_resumed:
            Console().print("Went on where the last run was cut off.")
    Console().print(f"{passages:,} passages are indexed.", highlight=False)


def _by_service(client: "ServiceClient", user: str | None) -> int:
    """Ask a service to do it, and wait for that. It goes on too if nobody waits."""
    from app.cli.client import ServiceError

    asked = {"user_id": user} if user else {}
    status = client.post("/v1/recall/reindex", asked)
    with stage_progress() as progress:
        while (left := _left(status)) and not status["degraded"]:
            total = max(left, status["passages"] + status["waiting"])
            progress("indexing", total - left, total)
            time.sleep(LOOK_S)
            status = client.get("/v1/recall/status", **asked)
    client.close()
    if status["degraded"]:
        raise ServiceError({"detail": f"an index cannot be filled now, and is later: {status['degraded']}"})
    return int(status["passages"])


def _left(status: "Json") -> int:
    return int(status["waiting"]) + int(status["behind"])
