"""`/v1/strategies`, and whether the service is well."""

import asyncio
from inspect import getdoc

from fastapi import APIRouter

from app.api.dependencies import ServiceDep
from app.errors import NotReadyProblem
from app.schemas.catalog import HealthView, StrategyView
from app.schemas.listings import ListView
from app.storage.backend import DatabaseUnavailableError
from llm.errors import ModelError
from memory.strategies import STRATEGIES
from memory.strategies.aliases import ALIASES

router = APIRouter()


@router.get("/v1/strategies", tags=["strategies"])
async def list_strategies() -> ListView[StrategyView]:
    """The memory strategies, with a JSON schema of each one's parameters."""
    return ListView(
        data=[
            StrategyView(
                name=name,
                description=getdoc(strategy) or "",
                parameters=strategy.model_json_schema(),
                aliases=[alias for alias, ours in ALIASES.items() if ours.strategy == name],
            )
            for name, strategy in STRATEGIES.items()
        ]
    )


@router.get("/healthz", tags=["health"])
async def health() -> HealthView:
    """The process answers."""
    return HealthView(status="ok")


@router.get("/readyz", tags=["health"])
async def readiness(service: ServiceDep) -> HealthView:
    """The model is there and the database answers: a chat turn would be served."""
    try:
        await service.database.ping()
    except DatabaseUnavailableError as error:
        raise NotReadyProblem(f"the database does not answer: {error}") from error
    try:
        await asyncio.to_thread(service.model.check)
    except ModelError as error:
        raise NotReadyProblem(f"the model does not answer: {error}") from error
    return HealthView(status="ok")
