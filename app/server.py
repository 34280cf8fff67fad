"""The app, made from its settings and its model: routes, running parts, and problem documents for errors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from app import __version__
from app.access.authentication import Authenticator
from app.access.middleware import AccessControl
from app.api import (
    cards,
    catalog,
    deletions,
    documents,
    events,
    facts,
    history,
    lorebooks,
    messages,
    metrics,
    personas,
    recall,
    sessions,
    summaries,
    transfer,
)
from app.api.dependencies import Service
from app.api.keyed_requests import KeyedRequests
from app.api.replays import replay
from app.api.security import say_who_may
from app.chat.history_edits import HistoryEdits
from app.chat.service import Chat
from app.deletions import Deleting
from app.documents.library import Library
from app.home import claim_home
from app.middleware import BodyLimit, RequestLog
from app.models.chat import ChatModel
from app.models.completions import Completions
from app.models.embedding import SentenceEmbedder
from app.openai import (
    chat_completions,
    completions,
    conversation_items,
    conversations,
    embeddings,
    models,
    responses,
)
from app.problem_responses import install_problem_handlers
from app.schemas.problems import ProblemView
from app.settings import Settings
from app.storage.database import Database, migrate
from app.storage.messages import Messages
from app.storage.repository import owners
from app.transfer.imports import Imports

CHATS = (sessions, lorebooks, messages, events, history, summaries, facts, recall, transfer, deletions)
STANDARD = (
    chat_completions,
    completions,
    responses,
    conversations,
    conversation_items,
    embeddings,
    models,
)
PARTS = (cards, personas, *CHATS, documents, *STANDARD, catalog, metrics)


def create_app(
    settings: Settings, model: ChatModel, embedder: SentenceEmbedder | None = None, *, warm_up: bool = False
) -> FastAPI:
    """The service. It claims its home folder when it starts up, and closes the model when it ends.

    `embedder`: the one that the settings name, unless another is given. `warm_up`: what the first search
    needs is loaded at once, in the background.
    """
    embeds = embedder or SentenceEmbedder(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with claim_home(settings.home):
            await asyncio.to_thread(migrate, settings.database)
            database = Database(settings.database)
            try:
                async with database.write() as session:
                    for owner in await owners(session):
                        await Messages(session, owner).interrupt_unfinished()
                app.state.authenticator = Authenticator(settings, database)
                chat = Chat(settings, database, model, embeds)
                chat.recall.start()
                whole_prompts = Completions(model.engine)
                edits = HistoryEdits(settings, database, model, chat)
                imports = Imports(settings, database, model, chat)
                library = Library(settings, database, on_change=chat.recall.upkeep.look_at)
                deleting = Deleting(database, model, chat, library)
                keyed = KeyedRequests(settings, database, replay)
                app.state.service = Service(
                    settings, database, model, chat, whole_prompts, edits, imports, library, deleting, keyed
                )
                await library.start()
                deleting.start()
                keyed.start()
                warming = asyncio.create_task(embeds.warm_up()) if warm_up else None
                try:
                    yield
                finally:
                    if warming is not None:
                        warming.cancel()
                    await keyed.close()
                    await deleting.close()
                    await library.close()
                    await whole_prompts.close()
                    await chat.close()
                    await app.state.authenticator.close()
                    await asyncio.to_thread(model.engine.close)
            finally:
                await database.close()

    app = FastAPI(
        title="Perdure",
        version=__version__,
        summary="Chat memory and context windows, with the model behind them.",
        lifespan=lifespan,
        responses={
            "default": {
                "description": "A problem document",
                "content": {"application/problem+json": {"schema": ProblemView.model_json_schema()}},
            }
        },
    )
    for part in PARTS:
        app.include_router(part.router)
    install_problem_handlers(app)
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.max_body_mb * 2**20,
        exceptions={documents.PATH: settings.document_mb * 2**20 + documents.FORM_BYTES},
    )
    app.add_middleware(AccessControl)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["*"],
        )
    app.add_middleware(RequestLog)
    say_who_may(app)
    return app
