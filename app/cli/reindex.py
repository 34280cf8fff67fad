"""`perdure reindex`: what is derived for recall is made anew from the messages."""

import asyncio
import time
from contextlib import closing
from typing import Annotated

import typer
from rich.console import Console

from app.cli.client import Json, ServiceClient, ServiceError, running_service
from app.cli.progress import stage_progress
from app.settings import Settings

LOOK_S = 0.5


def reindex(
    user: Annotated[str | None, typer.Option(help="Only what this user has said and been told.")] = None,
    url: Annotated[
        str | None, typer.Option(help="A running service. Without: the local one, or none.")
    ] = None,
) -> None:
    """Make the indexes of recall anew. Cut off, the next run goes on."""
    from app.home import claim_home
    from app.recall.reindexing import reindex as reindex_here

    settings = Settings()
    if (client := running_service(settings, url)) is not None:
        with closing(client):
            passages = _by_service(client, user)
    else:
        with claim_home(settings.home), stage_progress() as progress:
            done = asyncio.run(reindex_here(settings, user, progress))
        passages = done.passages
        if done.was_resumed:
            Console().print("Went on where the last run was cut off.")
    Console().print(f"{passages:,} passages are indexed.", highlight=False)


def _by_service(client: ServiceClient, user: str | None) -> int:
    """Ask a service to do it, and wait for that. It goes on too if nobody waits."""
    asked = {"user_id": user} if user else {}
    status = client.post("/v1/recall/reindex", asked)
    with stage_progress() as progress:
        while (left := _left(status)) and not status["degraded"]:
            total = max(left, status["passages"] + status["waiting"])
            progress("indexing", total - left, total)
            time.sleep(LOOK_S)
            status = client.get("/v1/recall/status", **asked)
    if status["degraded"]:
        raise ServiceError({"detail": f"an index cannot be filled now, and is later: {status['degraded']}"})
    return int(status["passages"])


def _left(status: Json) -> int:
    return int(status["waiting"]) + int(status["behind"])
