"""Streams of server-sent events, and noticing that a client has gone."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import Request, Response
from fastapi.sse import format_sse_event
from starlette.types import Receive, Scope, Send

PING_EVERY_S = 10.0


def sse(event: str, data: Any) -> bytes:
    """One server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    return format_sse_event(event=event, data_str=json.dumps(data, ensure_ascii=False))


@asynccontextmanager
async def until_disconnect(request: Request, on_disconnect: Callable[[], object]) -> AsyncIterator[None]:
    """Inside, call `on_disconnect` once the client goes away. The request's body must have been read."""
    watch = asyncio.create_task(_watch(request.receive, on_disconnect))
    try:
        yield
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch


class EventStream(Response):
    """Sends events as they come, comments while none come, and calls `on_disconnect` if the client goes.

    `address`: where the same events can be had again.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncIterator[bytes], *, on_disconnect: Callable[[], None], address: str | None = None
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        if address is not None:
            self.headers["Content-Location"] = address
        del self.headers["content-length"]
        self._events = events
        self._on_disconnect = on_disconnect

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        watch = asyncio.create_task(_watch(receive, self._on_disconnect))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._send_events(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except BaseException:
            self._on_disconnect()
            raise
        finally:
            watch.cancel()

    async def _send_events(self, send: Send) -> None:
        events = aiter(self._events)
        upcoming = asyncio.ensure_future(anext(events, None))
        try:
            while True:
                done, _ = await asyncio.wait({upcoming}, timeout=PING_EVERY_S)
                if not done:
                    await send(_body(b": ping\n\n"))
                    continue
                event = upcoming.result()
                if event is None:
                    return
                await send(_body(event))
                upcoming = asyncio.ensure_future(anext(events, None))
        finally:
            upcoming.cancel()


def _body(chunk: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": chunk, "more_body": True}


async def _watch(receive: Receive, on_disconnect: Callable[[], object]) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            on_disconnect()
            return
