"""What a service that asks for no key refuses: to be used by web pages that a browser on this machine shows.

Such a page may have its own name resolve to this machine (DNS rebinding), or send a form without asking
first. Neither can be told from its user by its address: only by the headers that browsers set.
"""

import re
from collections.abc import Collection
from http import HTTPMethod

from starlette.types import ASGIApp, Receive, Scope, Send

from app.access.authentication import is_loopback
from app.errors import HostProblem, OriginProblem
from app.problem_responses import response_to

_READING = {HTTPMethod.GET, HTTPMethod.HEAD, HTTPMethod.OPTIONS}
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+?)\.?(?::\d*)?")
"""A name or an address, a port perhaps behind it."""


class OwnPagesOnly:
    """Answers to names of this machine and to `hosts`, and changes nothing for pages but of `origins`."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], origins: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(scope) if scope["type"] == "http" else None
        answer = self._app if problem is None else response_to(scope["path"], problem)
        await answer(scope, receive, send)

    def _problem(self, scope: Scope) -> HostProblem | OriginProblem | None:
        host = _header(scope, b"host").lower()
        if not self._is_ours(host):
            return HostProblem(
                f"this service is not called {host!r}; PERDURE_ALLOWED_HOSTS adds names to those of localhost"
            )
        origin = _header(scope, b"origin")
        if not origin or scope["method"] in _READING or origin in self._origins:
            return None
        if origin.lower() in {f"http://{host}", f"https://{host}"}:
            return None
        return OriginProblem(
            f"pages of {origin!r} may change nothing here; PERDURE_CORS_ORIGINS says which pages may"
        )

    def _is_ours(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        # Names below localhost are of this machine, too (RFC 6761, 6.3).
        return is_loopback(found[1]) or found[1].endswith(".localhost") or found[1] in self._hosts


def _header(scope: Scope, name: bytes) -> str:
    """Its value; of one that is there twice both, which is none that anything is compared with."""
    return ", ".join(value.decode("latin-1") for each, value in scope["headers"] if each == name)
