"""Chat sessions, over the wire."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from app.fields import Name, StableText, Wire


class SessionCreate(Wire):
    persona_id: Name | None = None
    user_id: Name | None = None
    user_name: Name | None = Field(
        None, description="What the persona calls the user; none: the persona's own `user_name`."
    )
    greeting: int = Field(
        0, ge=0, le=100, description="0: the persona's greeting; n: its n-th alternate greeting."
    )
    title: Name | None = None
    memory: dict[str, Any] | None = Field(
        None, description='`{"strategy": name, ...parameters}`; see `GET /v1/strategies`.'
    )
    prefixes: bool = Field(False, description="Whether `system:`, `ci:` and `qa:` begin a message.")


class SessionUpdate(Wire):
    """Fields that are not given stay as they are. A new memory takes effect with the next turn."""

    persona_id: Name | None = None
    user_name: Name | None = None
    title: Name | None = None
    memory: dict[str, Any] = Field({})
    prefixes: bool = False
    instructions: StableText | None = Field(
        None, description="In the place of the persona's, in this session; null: those of the persona."
    )


class BranchedFrom(BaseModel):
    session_id: str
    message_id: str


class SessionView(BaseModel):
    id: str
    persona_id: str | None
    user_id: str | None
    user_name: str | None
    title: str | None
    memory: dict[str, Any]
    prefixes: bool
    instructions: str | None = Field(description="In the place of the persona's; null: those.")
    branched_from: BranchedFrom | None = Field(description="Where its first messages were copied from.")
    created_at: datetime
    updated_at: datetime


class SessionBranch(Wire):
    """Where a chat branches: the new session has all messages up to this one."""

    message_id: Name
    title: Name | None = Field(None, description="The session's own, if not given.")


class SessionForget(Wire):
    from_message_id: Name = Field(description="This message and all behind it are forgotten.")


class ForgottenView(BaseModel):
    messages: int = Field(description="How many are forgotten, alternatives among them.")
