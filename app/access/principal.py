"""Whom a request speaks for: an owner, perhaps one of its users, and what it may do and spend."""

from dataclasses import dataclass, field
from enum import StrEnum

from app.storage.repository import UserOfOwner


class Scope(StrEnum):
    """What a key is allowed to; none comprises another."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    METRICS = "metrics"


SCOPES = frozenset(Scope)
LOCAL_OWNER = "local"
"""Whoever reaches a service on this machine that asks for no key."""


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key may spend; None is no limit. A minute is any minute, tokens are of prompts and replies."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    stored_bytes: int | None = None
    concurrent_generations: int | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """An owner, or one user of it, with the key that said so; no key is everything on this machine."""

    owner: str
    scopes: frozenset[Scope] = SCOPES
    key_id: str | None = None
    limits: KeyLimits = field(default_factory=KeyLimits)

    @property
    def user_id(self) -> str | None:
        """The one user that the key is bound to."""
        return self.owner.user_id if isinstance(self.owner, UserOfOwner) else None


LOCAL = Principal(LOCAL_OWNER)
