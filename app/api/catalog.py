"""`/v1/strategies`, and whether the service is well."""

from dataclasses import asdict
from inspect import getdoc

from fastapi import APIRouter

from app.api.dependencies import ServiceDep
from app.errors import NotReadyProblem
from app.schemas.catalog import HealthView, PartView, ReadinessView, StrategyView
from app.schemas.listings import ListView
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
async def readiness(service: ServiceDep) -> ReadinessView:
    """Whether a chat turn would be served: 503 if not. The parts say why not, or what is only degraded."""
    states = await service.readiness.look()
    failed = {name: state for name, state in states.items() if state.status == "failed"}
    if failed:
        raise NotReadyProblem(
            "; ".join(f"{name}: {state.detail}" for name, state in failed.items()),
            parts={name: asdict(state) for name, state in states.items()},
        )
    is_well = all(state.status == "ok" for state in states.values())
    return ReadinessView(
        status="ok" if is_well else "degraded",
        parts={name: PartView(status=state.status, detail=state.detail) for name, state in states.items()},
    )
