"""The app, made from its settings and its model: routes, running parts, and problem documents for errors."""

from functools import partial
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware

from app import __version__
from app.access.authentication import needs_key
from app.access.browsers import OwnPagesOnly
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
    scores,
    sessions,
    summaries,
    transfer,
)
from app.api.dependencies import said_once
from app.api.security import say_who_may
from app.middleware import BodyLimit, HeadLimit, RequestLog
from app.models.chat import ChatModel
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
from app.running import running_parts
from app.schemas.problems import ErrorView, ProblemView
from app.settings import Settings
from app.telemetry.metrics import Metrics

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
PARTS = (cards, personas, *CHATS, documents, scores, *STANDARD, catalog, metrics)
PROBLEM: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem document",
        "content": {"application/problem+json": {"schema": ProblemView.model_json_schema()}},
    }
}
STANDARD_ERROR: dict[int | str, dict[str, Any]] = {
    "default": {"description": "An error in the form of OpenAI's API", "model": ErrorView}
}


def create_app(
    settings: Settings, model: ChatModel, embedder: SentenceEmbedder | None = None, *, warm_up: bool = False
) -> FastAPI:
    """The service. It claims its home folder when it starts up, and closes the model when it ends.

    `embedder`: the one that the settings name, unless another is given. `warm_up`: what the first search
    needs is loaded at once, in the background.
    """
    counted = Metrics()
    running = partial(
        running_parts,
        settings=settings,
        model=model,
        embedder=embedder or SentenceEmbedder(settings),
        metrics=counted,
        warm_up=warm_up,
    )
    app = FastAPI(
        title="Perdure",
        version=__version__,
        summary="Chat memory and context windows, with the model behind them.",
        lifespan=running,
        # FastAPI's own spans hold queries, paths and the texts of exceptions: what users say and are called.
        telemetry={
            "tracing": False,
            "operation_spans": False,
            "metrics": False,
            "logs": False,
            "auto_configure": False,
        },
        responses=PROBLEM,
    )
    for part in PARTS:
        if part in STANDARD:
            app.include_router(part.router, responses=STANDARD_ERROR)
        else:
            app.include_router(part.router, dependencies=[Depends(said_once)])
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
    if not needs_key(settings):
        app.add_middleware(OwnPagesOnly, hosts=settings.allowed_hosts, origins=settings.cors_origins)
    app.add_middleware(HeadLimit)
    app.add_middleware(RequestLog, metrics=counted)
    say_who_may(app)
    return app
