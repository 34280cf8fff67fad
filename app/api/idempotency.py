"""The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header): a request that may come again.

A route takes it that has `IDEMPOTENT` among its dependencies and is an `IdempotentRoute`.
"""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.routing import APIRoute, request_response
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from app.api.dependencies import owner_of, service_of
from app.api.replies import CLIENT_CLOSED_REQUEST
from app.errors import InvalidProblem
from app.storage.idempotency import RequestKey
from app.storage.repository import bound_to

HEADER = "Idempotency-Key"
OWN_HEADERS = "x-perdure-"
"""How headers begin that say what is to be done."""
_KEY = re.compile(r'"([!#-\[\]-~]{1,255})"|([!#-~]{1,255})')
_CHUNK = 2**20


async def _idempotency_key(
    _key: Annotated[
        str | None,
        Header(
            alias=HEADER,
            max_length=257,
            description="Names this request: coming again, it is not carried out again.",
        ),
    ] = None,
    _last_event_id: Annotated[
        str | None,
        Header(alias="Last-Event-ID", max_length=64, description="Of a stream: go on behind this event."),
    ] = None,
) -> None:
    """What the routes are documented with; the key is read before they are."""


IDEMPOTENT = Depends(_idempotency_key)


class IdempotentRoute(APIRoute):
    """A route that carries out a request with a key once."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if IDEMPOTENT not in self.dependencies:
            return handle
        app = request_response(handle)

        async def handle_once(request: Request) -> Response:
            key = read_key(request)
            if key is None:
                return await handle(request)
            owner = owner_of(request)
            try:
                body = await request.body()
                fingerprint = await _fingerprint(request, key, body)
            except ClientDisconnect:
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            digest = hashlib.sha256(f"{owner}\0{bound_to(owner) or ''}\0{key}".encode()).hexdigest()
            keyed = service_of(request).keyed
            return await keyed.answer(request, body, owner, RequestKey(digest, fingerprint), app)

        return handle_once


def read_key(request: Request) -> str | None:
    """The request's key, if it came with one. Raises InvalidProblem."""
    values = request.headers.getlist(HEADER)
    if not values:
        return None
    found = _KEY.fullmatch(values[0]) if len(values) == 1 else None
    if found is None:
        raise InvalidProblem.of_field(
            HEADER, "must be one key of 1 to 255 visible ASCII characters, in quotation marks or without"
        )
    return found[1] or found[2]


async def _fingerprint(request: Request, key: str, body: bytes) -> str:
    """What tells this request from others with its key. Without the key it tells nothing of the body."""
    digest = hmac.new(key.encode(), digestmod=hashlib.sha256)

    def add(part: bytes) -> None:
        digest.update(len(part).to_bytes(8) + part)

    for text in (request.method, request.url.path, request.url.query):
        add(text.encode())
    for name, value in sorted(request.headers.items()):
        if name.startswith(OWN_HEADERS):
            add(f"{name}: {value}".encode())
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        await asyncio.to_thread(add, body)
        return digest.hexdigest()
    # The boundary between the parts is another each time.
    async with request.form(max_files=1, max_fields=1) as form:
        for name, field in form.multi_items():
            add(name.encode())
            if isinstance(field, UploadFile):
                add((field.filename or "").encode())
                add((field.size or 0).to_bytes(8))
                while chunk := await field.read(_CHUNK):
                    digest.update(chunk)
            else:
                add(field.encode())
    return digest.hexdigest()
