"""The parts of the service: they begin with it, and end in the order that lets what runs be stored."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.access.authentication import Authenticator
from app.api.dependencies import Service
from app.api.keyed_requests import KeyedRequests
from app.api.replays import replay
from app.chat.abandoned import interrupt_abandoned
from app.chat.history_edits import HistoryEdits
from app.chat.service import Chat
from app.deletions import Deleting
from app.documents.library import Library
from app.home import claim_home, has_copies, home_id
from app.models.chat import ChatModel
from app.models.completions import Completions
from app.models.embedding import SentenceEmbedder
from app.others import OtherProcesses
from app.readiness import Readiness
from app.settings import Settings
from app.storage.database import Database, migrate
from app.storage.homes import Homes
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import flush
from app.transfer.imports import Imports


@asynccontextmanager
async def running_parts(
    app: FastAPI,
    settings: Settings,
    model: ChatModel,
    embedder: SentenceEmbedder,
    metrics: Metrics,
    *,
    warm_up: bool,
) -> AsyncIterator[None]:
    """Claim the home folder, bring the database up to this release, and run the parts while the app does.

    The model is closed at the end, and what was traced is sent.
    """
    with claim_home(settings.home):
        await asyncio.to_thread(migrate, settings.database)
        database = Database(settings.database)
        try:
            await interrupt_abandoned(database)
            others_home = await _registered(settings, database)
            app.state.authenticator = Authenticator(settings, database)
            app.state.service = service = _service(
                settings, database, model, embedder, metrics, home=others_home
            )
            others = (
                OtherProcesses(database, service.chat, service.deleting, others_home) if others_home else None
            )
            service.chat.recall.start()
            await service.chat.upkeep.find_lagging()
            await service.library.start()
            service.deleting.start()
            service.keyed.start()
            if others is not None:
                others.start()
            warming = asyncio.create_task(_warm_up(embedder)) if warm_up else None
            try:
                yield
            finally:
                if warming is not None:
                    warming.cancel()
                if others is not None:
                    await others.close()
                await service.keyed.close()
                await service.readiness.close()
                await service.deleting.close()
                await service.library.close()
                await service.completions.close()
                await service.chat.close()
                await app.state.authenticator.close()
                await asyncio.to_thread(model.engine.close)
        finally:
            await database.close()
            await flush()


async def _warm_up(embedder: SentenceEmbedder) -> None:
    """Load what the first search needs. What is loaded by then stays: no collection of garbage need go
    through it again, which would hold up the whole process for a third of a second.
    """
    await embedder.warm_up()
    gc.collect()
    gc.freeze()


async def _registered(settings: Settings, database: Database) -> str | None:
    """The name of this process's home where others have homes on the same database, which now know of it."""
    if not database.claims.is_shared:
        return None
    name = await asyncio.to_thread(home_id, settings.home)
    async with database.write() as session:
        copies = await asyncio.to_thread(has_copies, settings.home)
        await Homes(session).register(name, socket.gethostname(), has_copies=copies)
    await database.claims.listen()
    return name


def _service(
    settings: Settings,
    database: Database,
    model: ChatModel,
    embedder: SentenceEmbedder,
    metrics: Metrics,
    *,
    home: str | None,
) -> Service:
    chat = Chat(settings, database, model, embedder, metrics)
    library = Library(settings, database, on_change=chat.recall.upkeep.look_at)
    keyed = KeyedRequests(settings, database, replay)
    return Service(
        settings=settings,
        database=database,
        model=model,
        chat=chat,
        completions=Completions(model.engine, metrics),
        history=HistoryEdits(settings, database, model, chat),
        imports=Imports(settings, database, model, chat),
        library=library,
        deleting=Deleting(database, model, chat, library, home_id=home, forget_answers=keyed.forget),
        keyed=keyed,
        metrics=metrics,
        readiness=Readiness(settings, database, model, chat.recall, embedder),
    )
