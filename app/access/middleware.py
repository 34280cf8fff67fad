"""Asks each request who it is, before anything of it is read, and counts it."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Connection

from app.access.authentication import Authenticator
from app.access.limits import Allowance
from app.access.principal import Scope
from app.access.rules import needed_scope
from app.access.spending import ALLOWANCE
from app.errors import ProblemError
from app.problem_responses import response_to


class AccessControl:
    """Refuses what a request's key does not allow; behind it, `scope["state"]["principal"]` says who asks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or needed_scope(scope["method"], scope["path"]) is None:
            await self._app(scope, receive, send)
            return
        authenticator: Authenticator = scope["app"].state.authenticator
        allowance: Allowance | None = None

        async def counted_send(message: Message) -> None:
            if message["type"] == "http.response.start" and allowance is not None:
                MutableHeaders(scope=message).update(allowance.headers())
            await send(message)

        try:
            principal = await authenticator.principal(dict(scope["headers"]))
            allowance = authenticator.allowance(principal)
            if allowance is not None:
                await allowance.take_request()
            needed = authenticator.check_scope(principal, scope["method"], scope["path"])
            if needed is Scope.WRITE and scope["method"] != "DELETE":
                await authenticator.check_stored(principal, _announced_bytes(scope))
        except ProblemError as problem:
            await response_to(scope["path"], problem)(scope, receive, counted_send)
            return
        scope.setdefault("state", {})["principal"] = principal
        token = ALLOWANCE.set(allowance)
        try:
            await self._app(scope, receive, counted_send)
        finally:
            ALLOWANCE.reset(token)


def _announced_bytes(scope: Connection) -> int:
    announced = dict(scope["headers"]).get(b"content-length", b"0")
    return int(announced) if announced.isdigit() else 0
