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
