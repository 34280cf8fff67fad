"""The answer to one request, recorded as it comes, so that whoever asks again can follow it from any event.

The request is carried out apart from its clients: it learns that they have gone only when nobody has come
back for a while.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from functools import partial

from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope

from app.api.replies import CLIENT_CLOSED_REQUEST
from app.api.streams import EventStream, until_disconnect
from app.errors import InvalidProblem

REPLAYED = "Idempotent-Replayed"
_EVENT_ID = re.compile(r"([0-9a-f]{16})\.([0-9]{1,9})")


def event_number(last_event_id: str | None, name: str | None) -> int:
    """Which event of its stream that id is of, counted from 1; 0 for none.

    `name`: of the stream, if it is known. Raises InvalidProblem.
    """
    if not last_event_id:
        return 0
    found = _EVENT_ID.fullmatch(last_event_id)
    if found is None or (name is not None and found[1] != name):
        raise InvalidProblem.of_field("Last-Event-ID", "is not the id of an event of this reply")
    return int(found[2])


class Recording:
    """An answer on its way. `name` begins the ids of its events; `grace_s`: how long the request goes on
    while nobody follows it, None for to its end.
    """

    def __init__(self, owner: str, name: str, *, grace_s: float | None) -> None:
        self.owner = owner
        self.name = name
        self.status: int | None = None
        self.is_ended = False
        self.error: Exception | None = None
        self._grace_s = grace_s
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._changed = asyncio.Event()
        self._followers: set[object] = set()
        self._gone = asyncio.Event()
        self._leaving: asyncio.TimerHandle | None = None

    @property
    def is_stream(self) -> bool:
        return self.header("content-type").startswith(EventStream.media_type)

    @property
    def is_void(self) -> bool:
        """Whether the request was given up, all its clients gone, before it did anything."""
        return self.status == CLIENT_CLOSED_REQUEST

    @property
    def event_count(self) -> int:
        """How many events of a stream there are so far."""
        return len(self._chunks)

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return sum(map(len, self._chunks))

    def header(self, name: str) -> str:
        return next((value.decode("latin-1") for key, value in self._headers if key.decode() == name), "")

    async def run(self, app: ASGIApp, scope: Scope, body: bytes) -> None:
        """Carry the request out. Never raises: a fault is the answer."""
        try:
            await app(dict(scope), self._receiving(body), self._send)
        except Exception as error:
            self.error = error
        finally:
            self.end()

    def end(self) -> None:
        """Let nobody wait for more."""
        self.is_ended = True
        self._wake()

    def give_up(self) -> None:
        """Let the request see that its clients have gone."""
        self._gone.set()

    def join(self) -> Callable[[], None]:
        """Follow the answer; until what this gives is called, the request goes on."""
        follower = object()
        self._followers.add(follower)
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        return partial(self._leave, follower)

    async def ended(self) -> None:
        while not self.is_ended:
            await self._changed.wait()

    async def answer(
        self,
        request: Request,
        leave: Callable[[], None],
        *,
        after: int,
        is_replay: bool,
        with_ids: bool = True,
    ) -> Response | None:
        """The answer for one that has joined: of a stream the events behind number `after`, by default with
        their ids; None if there is none. Raises what the request raised.
        """
        waiting = asyncio.ensure_future(self._answerable())
        async with until_disconnect(request, waiting.cancel):
            try:
                await waiting
            except asyncio.CancelledError:
                leave()
                if waiting.cancelled():
                    return Response(status_code=CLIENT_CLOSED_REQUEST)
                raise
        if self.status is None or self.is_void:
            leave()
            if self.error is not None:
                raise self.error
            return None
        response: Response
        if not self.is_stream:
            leave()
            response = Response(b"".join(self._chunks), status_code=self.status)
            response.raw_headers = list(self._headers)
        elif after > len(self._chunks):
            leave()
            raise InvalidProblem.of_field("Last-Event-ID", "is not the id of an event of this reply")
        elif after and after == len(self._chunks) and self.is_ended:
            leave()
            response = Response(status_code=204)
        else:
            address = self.header("content-location") or None
            events = self._events(after, leave, with_ids=with_ids)
            response = EventStream(events, on_disconnect=leave, address=address)
        if is_replay:
            response.headers[REPLAYED] = "true"
        return response

    async def _answerable(self) -> None:
        while not self.is_ended and not (self.status is not None and self.is_stream):
            await self._changed.wait()

    async def _events(
        self, number: int, leave: Callable[[], None], *, with_ids: bool
    ) -> AsyncIterator[bytes]:
        try:
            while True:
                while number < len(self._chunks):
                    number += 1
                    name = f"id: {self.name}.{number}\n" if with_ids else ""
                    yield name.encode() + self._chunks[number - 1]
                if self.is_ended:
                    break
                await self._changed.wait()
        finally:
            leave()
        if self.error is not None:
            raise self.error

    def _receiving(self, body: bytes) -> Receive:
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if waiting:
                return waiting.pop()
            await self._gone.wait()
            return {"type": "http.disconnect"}

        return receive

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._headers = list(message["headers"])
            self.status = message["status"]
        elif (chunk := bytes(message.get("body", b""))) and not (self.is_stream and chunk.startswith(b":")):
            self._chunks.append(chunk)
        self._wake()

    def _leave(self, follower: object) -> None:
        if follower not in self._followers:
            return
        self._followers.remove(follower)
        if not self._followers and not self.is_ended and self._grace_s is not None:
            self._leaving = asyncio.get_running_loop().call_later(self._grace_s, self.give_up)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
