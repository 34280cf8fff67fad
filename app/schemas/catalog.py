"""Strategies, models and health, over the wire."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from llm.engine.interface import TokenCounts


class StrategyView(BaseModel):
    name: str
    description: str
    parameters: dict[str, Any] = Field(description="JSON schema.")
    aliases: list[str] = Field(description="LangChain's names for it; their parameters are mapped.")


class ModelView(BaseModel):
    id: str
    architecture: str
    parameters: int | None = Field(description="Null if a remote server does not say.")
    context_window: int
    token_counts: TokenCounts
    dtype: str
    device: str
    fingerprint: str


class HealthView(BaseModel):
    status: Literal["ok"]
