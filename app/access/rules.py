"""What a request needs to be let through: nothing, or which scope; and what a key of one user may reach.

It follows from method and path alone, so that a new route is never open by being forgotten.
"""

import re
from http import HTTPMethod

from app.access.principal import Scope

OPEN = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"})
"""Whether the service is well, and how it is spoken to: no secrets."""
_READING = {HTTPMethod.GET, HTTPMethod.HEAD, HTTPMethod.OPTIONS}
_SEARCHES = re.compile(r"/v1/(documents/)?search/?")
_OF_ALL = re.compile(r"/v1/(export|import|recall/reindex|users/.*)/?")
"""What touches all of an owner or of one of its users at once."""
_OF_ONE_USER = re.compile(r"/v1/users/(?P<user>.+?)(/export)?/?")
_NOT_FOR_USERS = re.compile(r"/v1/(export|import|sessions/import|recall/reindex)/?|/metrics/?")
_PERSONAS = re.compile(r"/v1/personas(/.*)?")


def needed_scope(method: str, path: str) -> Scope | None:
    """What a key must be allowed to; None where no key is needed."""
    if path in OPEN:
        return None
    if path.rstrip("/") == "/metrics":
        return Scope.METRICS
    if _OF_ALL.fullmatch(path):
        return Scope.ADMIN
    return Scope.READ if method in _READING or _SEARCHES.fullmatch(path) else Scope.WRITE


def is_for_user(method: str, path: str, user_id: str) -> bool:
    """Whether a key of that user may ask for it: not for what is of the whole owner, nor of another user.

    Personas are the owner's: its users' chats may have them, and nothing else.
    """
    if _NOT_FOR_USERS.fullmatch(path) or (_PERSONAS.fullmatch(path) and method not in _READING):
        return False
    named = _OF_ONE_USER.fullmatch(path)
    return named is None or named["user"] == user_id
