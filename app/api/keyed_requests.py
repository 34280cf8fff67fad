"""Requests that came with an idempotency key: each is carried out once, and asked again gives its answer.
So are responses that are generated in the background, which nobody need wait for.

While it runs and for a while afterwards the answer is here, as it was sent; later, and in other processes, it
is made anew of what the request stored (`app.api.replays`).
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import Request, Response
from starlette.types import ASGIApp, Scope

from app.api.recordings import REPLAYED, Recording, event_number
from app.api.replies import events_address
from app.errors import KeyReusedProblem
from app.settings import Settings
from app.storage.database import Database
from app.storage.idempotency import IdempotencyKeys, RequestKey, carried_out, purge_expired
from app.storage.idempotency_tables import IdempotencyKeyRow
from app.storage.messages import Messages
from app.storage.repository import bound_to
from app.storage.responses import Responses

log = structlog.get_logger()

PURGE_EVERY_S = 3600.0
CLOSE_WITHIN_S = 5.0
NAME_LENGTH = 16
"""How much of a key's digest begins the ids of its events."""

Replay = Callable[[Request, bytes, str, IdempotencyKeyRow], Awaitable[Response]]
"""Makes the answer of what was stored: for a request, its body and its owner."""


@dataclass(slots=True)
class KeyedRequest:
    """A request that is being carried out, or has been. `stored`: what it made when it came before.

    What goes on in the background has a key of its own, which no request comes with.
    """

    key: RequestKey
    recording: Recording
    stored: IdempotencyKeyRow | None = None


class KeyedRequests:
    """The requests of this process that came with a key. Theirs are the keys of one database."""

    def __init__(self, settings: Settings, database: Database, replay: Replay) -> None:
        self._database = database
        self._replay = replay
        self._resume_s = settings.resume_s
        self._max_bytes = settings.resume_mb * 2**20
        self._requests: dict[str, KeyedRequest] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._purging: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to purge keys that are kept no longer, in the background."""
        self._purging = asyncio.create_task(self._purge(), name="idempotency keys")

    async def close(self) -> None:
        """Let the requests that nobody follows any more see that they are to end, and wait for it."""
        if self._purging is not None:
            self._purging.cancel()
        for each in self._requests.values():
            each.recording.give_up()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_WITHIN_S)
            for task in late:
                task.cancel()

    async def answer(
        self, request: Request, body: bytes, owner: str, key: RequestKey, app: ASGIApp
    ) -> Response:
        """The answer that `app` gives to the request, or gave when it first came with this key.

        Raises KeyReusedProblem if that was another request, and InvalidProblem for a `Last-Event-ID` that
        is not of this one's events.
        """
        after = event_number(request.headers.get("Last-Event-ID"), key.digest[:NAME_LENGTH])
        while True:
            known = self._requests.get(key.digest)
            keyed = known or self._begin(owner, key, app, request.scope, body)
            _check_same(keyed.key.fingerprint, key)
            answer = await keyed.recording.answer(
                request,
                keyed.recording.join(),
                after=after if known else 0,
                is_replay=known is not None,
            )
            if answer is not None:
                return answer
            if keyed.stored is not None:
                _check_same(keyed.stored.fingerprint, key)
                answer = await self._replay(request, body, owner, keyed.stored)
                answer.headers[REPLAYED] = "true"
                return answer

    async def follow(
        self, request: Request, owner: str, reply_id: str, last_event_id: str | None
    ) -> Response | None:
        """The events of a reply that is still at hand, if it is. Raises InvalidProblem."""
        recording = self.recorded(owner, reply_id)
        after = event_number(last_event_id, recording.name if recording else None)
        if recording is None:
            return None
        return await recording.answer(request, recording.join(), after=after, is_replay=True)

    def recorded(self, owner: str, reply_id: str) -> Recording | None:
        """The stream of a reply, if it is still at hand."""
        address = events_address(reply_id)
        for keyed in self._requests.values():
            recording = keyed.recording
            is_own = recording.owner == owner and bound_to(owner) in {None, bound_to(recording.owner)}
            if is_own and recording.header("content-location") == address:
                return recording
        return None

    def go_on(self, owner: str, reply_id: str, stream: ASGIApp, scope: Scope) -> Recording:
        """Have the stream of a response go on to its end, whether anybody follows it or not."""
        digest = hashlib.sha256(f"reply {reply_id}".encode()).hexdigest()
        recording = Recording(owner, digest[:NAME_LENGTH], grace_s=None)
        keyed = self._requests[digest] = KeyedRequest(RequestKey(digest, fingerprint=""), recording)

        async def run() -> None:
            is_at_hand = False
            try:
                await recording.run(stream, scope, b"")
                is_at_hand = await self._is_response(owner, reply_id)
            finally:
                self._ended(keyed, is_at_hand=is_at_hand)

        self._start(run(), "response in the background")
        return recording

    def forget(self, owner: str) -> None:
        """Have no answer to an owner's requests at hand: what was said in one may have been deleted."""
        for keyed in list(self._requests.values()):
            if keyed.recording.owner == owner and keyed.recording.is_ended:
                self._drop(keyed)

    def _begin(self, owner: str, key: RequestKey, app: ASGIApp, scope: Scope, body: bytes) -> KeyedRequest:
        recording = Recording(owner, key.digest[:NAME_LENGTH], grace_s=self._resume_s)
        keyed = self._requests[key.digest] = KeyedRequest(key, recording)
        self._start(self._carry_out(keyed, app, scope, body), "request with a key")
        return keyed

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, keyed: KeyedRequest, app: ASGIApp, scope: Scope, body: bytes) -> None:
        carried_out.set(keyed.key)
        is_at_hand = False
        claims, name = self._database.claims, f"request {keyed.key.digest}"
        try:
            try:
                await claims.take(name, waits=True)  # while it is carried out in another process
                keyed.stored = await self._find(keyed)
            except Exception as error:
                keyed.recording.error = error
            else:
                if keyed.stored is None:
                    await keyed.recording.run(app, scope, body)
                    is_at_hand = await self._is_answered(keyed)
        finally:
            keyed.recording.end()
            self._ended(keyed, is_at_hand=is_at_hand)
            await claims.release(name)

    def _ended(self, keyed: KeyedRequest, *, is_at_hand: bool) -> None:
        if is_at_hand and self._resume_s > 0:
            asyncio.get_running_loop().call_later(self._resume_s, self._drop, keyed)
            self._keep_within_bounds()
        else:
            self._drop(keyed)

    async def _is_answered(self, keyed: KeyedRequest) -> bool:
        """Whether the request did something, and what it made is there. One that was refused may be tried
        again under its key.
        """
        status = keyed.recording.status
        if status is None or keyed.recording.is_void:
            return False
        return await self._find(keyed) is not None if keyed.key.is_kept else status < 400

    async def _is_response(self, owner: str, reply_id: str) -> bool:
        """Whether it is one still: it may have been deleted while it was generated."""
        async with self._database.read() as session:
            row = await Responses(session, owner).get(reply_id)
            said = await Messages(session, owner).get_many([reply_id])
        return row is not None and all(reply.forgotten_at is None for reply in said.values())

    async def _find(self, keyed: KeyedRequest) -> IdempotencyKeyRow | None:
        async with self._database.read() as session:
            return await IdempotencyKeys(session, keyed.recording.owner).find(keyed.key.digest)

    def _keep_within_bounds(self) -> None:
        """Drop ended answers, the oldest first, until the others are not too large."""
        total = sum(each.recording.size for each in self._requests.values())
        for keyed in list(self._requests.values()):
            if total <= self._max_bytes:
                return
            if keyed.recording.is_ended:
                total -= keyed.recording.size
                self._drop(keyed)

    def _drop(self, keyed: KeyedRequest) -> None:
        if self._requests.get(keyed.key.digest) is keyed:
            del self._requests[keyed.key.digest]

    async def _purge(self) -> None:
        while True:
            try:
                async with self._database.write() as session:
                    await purge_expired(session)
            except Exception:
                log.exception("idempotency keys could not be purged")
            await asyncio.sleep(PURGE_EVERY_S)


def _check_same(fingerprint: str, key: RequestKey) -> None:
    if fingerprint != key.fingerprint:
        raise KeyReusedProblem("the Idempotency-Key was used for another request; give each its own")
