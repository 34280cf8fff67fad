"""Strategies and health, over the wire."""

from typing import Any, Literal

from pydantic import BaseModel, Field


class StrategyView(BaseModel):
    name: str
    description: str
    parameters: dict[str, Any] = Field(description="JSON schema.")
    aliases: list[str] = Field(description="LangChain's names for it; their parameters are mapped.")


class HealthView(BaseModel):
    status: Literal["ok"]


class PartView(BaseModel):
    status: Literal["ok", "degraded", "failed"]
    detail: str | None = Field(description="Why it is not well.")


class ReadinessView(BaseModel):
    """`degraded`: replies are given, but not as good as they could be."""

    status: Literal["ok", "degraded"]
    parts: dict[str, PartView]
