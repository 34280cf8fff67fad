"""The app, made from its settings and its model: routes, running parts, and problem documents for errors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app import __version__
from app.api import (
    cards,
    catalog,
    deletions,
    documents,
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
from app.api.dependencies import LOCAL_OWNER, Service
from app.chat.history_edits import HistoryEdits
from app.chat.service import Chat
from app.deletions import Deleting
from app.documents.library import Library
from app.home import claim_home
from app.middleware import BodyLimit, RequestLog
from app.models.chat import ChatModel
from app.models.completions import Completions
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
from app.transfer.imports import Imports

CHATS = (sessions, lorebooks, messages, history, summaries, facts, recall, transfer, deletions)
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


def create_app(settings: Settings, model: ChatModel, *, warm_up: bool = False) -> FastAPI:
    """The service. It claims its home folder when it starts up, and closes the model when it ends.

    `warm_up`: what the first search needs is loaded at once, in the background.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with claim_home(settings.home):
            await asyncio.to_thread(migrate, settings.database_path)
            database = Database(settings.database_path)
            try:
                async with database.write() as session:
                    await Messages(session, LOCAL_OWNER).interrupt_unfinished()
                chat = Chat(settings, database, model)
                chat.recall.start()
                whole_prompts = Completions(model.engine)
                edits = HistoryEdits(settings, database, model, chat)
                imports = Imports(settings, database, model, chat)
                library = Library(settings, database, on_change=chat.recall.upkeep.look_at)
                deleting = Deleting(database, model, chat, library)
                app.state.service = Service(
                    settings, database, model, chat, whole_prompts, edits, imports, library, deleting
                )
                await library.start()
                deleting.start()
                warming = asyncio.create_task(chat.embedder.warm_up()) if warm_up else None
                try:
                    yield
                finally:
                    if warming is not None:
                        warming.cancel()
                    await deleting.close()
                    await library.close()
                    await whole_prompts.close()
                    await chat.close()
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
    app.add_middleware(RequestLog)
    return app
