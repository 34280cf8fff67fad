"""The connection to one remote server: requests and streams on a thread of its own, and their errors."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import httpx

from llm.errors import EngineClosedError, RemoteServerError, RemoteUnavailableError
from llm.remote.retries import retry_after_s, retrying

Json = dict[str, Any]
Result = TypeVar("Result")

CONNECT_TIMEOUT_S = 10.0
PING_TIMEOUT_S = 5.0
SHOWN_CHARACTERS = 300
OVERLOADED = (429, 502, 503, 504)
NOT_THERE = (404, 405, 501)


class RemoteServer:
    """An HTTP server. Every request runs on this object's event loop, in a thread of its own.

    `url` may end in `/v1`, as the base URL of OpenAI clients does, and hold a user and a password.
    `timeout_s` bounds the wait for the first byte of an answer and between any two, `retries` the further
    tries of a request that the server has not begun to answer. `key` is sent as a bearer token. Neither it
    nor a password is shown in any error. `headers` gives others for each request: it is called in the context
    of whoever asks for that. Raises RemoteServerError if `url` is none.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 3,
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        try:
            given = httpx.URL(url.rstrip("/").removesuffix("/v1"))
        except httpx.InvalidURL as error:
            raise RemoteServerError(f"the remote server's address is no URL: {error}") from error
        base = given.copy_with(userinfo=b"")
        self.shown_url = str(base).rstrip("/")
        self.retries = retries
        self._headers = headers
        self._secrets = [secret for secret in (key, given.password) if secret]
        self._http = httpx.AsyncClient(
            base_url=base,
            auth=(given.username, given.password) if given.username else None,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s), pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
        )
        self._lock = threading.Lock()
        self._is_closed = False
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="remote engine", daemon=True)
        self._thread.start()

    def start(self, coroutine: Coroutine[Any, Any, Result]) -> "Future[Result]":
        """Run a coroutine on the server's loop. Raises EngineClosedError after `close`."""
        with self._lock:
            if self._is_closed:
                coroutine.close()
                raise EngineClosedError("the engine has been closed")
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the server's loop and wait for it; not to be called from that loop."""
        try:
            return self.start(coroutine).result()
        except CancelledError:
            raise EngineClosedError("the engine has been closed") from None

    def on_loop(self, act: Callable[[], object]) -> None:
        """Have the server's loop call `act` soon; after `close`, nothing."""
        with self._lock:
            if not self._is_closed:
                self._loop.call_soon_threadsafe(act)

    def get(self, path: str) -> Json:
        """The JSON object at `path`. Raises RemoteServerError, EngineClosedError."""
        return self.call(self._request("GET", path, None))

    def post(self, path: str, body: Json) -> Json:
        """The JSON object that `path` answers to `body`. Raises RemoteServerError, EngineClosedError."""
        return self.call(self.answer(path, body))

    async def answer(self, path: str, body: Json) -> Json:
        """`post` for what runs on the server's loop itself."""
        return await self._request("POST", path, body)

    def ping(self) -> None:
        """Ask for the list of models, once. Raises RemoteServerError unless the server answers soon."""
        self.call(self._ping("/v1/models"))

    async def _ping(self, path: str) -> None:
        with self.translated(path):
            response = await self._http.get(path, headers=self._headers(), timeout=PING_TIMEOUT_S)
        if response.status_code not in NOT_THERE:
            self._check(path, response)

    async def _request(self, method: str, path: str, body: Json | None) -> Json:
        async for attempt in retrying(self.retries):
            with attempt, self.translated(path):
                response = await self._http.request(method, path, json=body, headers=self._headers())
                self._check(path, response)
                return self._json(path, response)
        raise AssertionError("the last try neither answered nor raised")

    @asynccontextmanager
    async def stream(self, path: str, body: Json) -> AsyncIterator[httpx.Response]:
        """The answer to `body`, its status checked, its bytes still to come. Tries once."""
        async with self._http.stream("POST", path, json=body, headers=self._headers()) as response:
            if not response.is_success:
                await response.aread()
            self._check(path, response)
            yield response

    @contextmanager
    def translated(self, path: str) -> Iterator[None]:
        """Turn faults of the transport into RemoteServerError; those that may pass, the Unavailable one."""
        try:
            yield
        except httpx.ReadTimeout as error:
            timeout_s = error.request.extensions["timeout"]["read"]
            raise self.fault(path, f"sent nothing for {timeout_s:g} s") from None
        except httpx.TransportError as error:
            reason = self.redacted(str(error)) or type(error).__name__
            unreached = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            fault = "cannot be reached" if unreached else "broke the connection"
            raise RemoteUnavailableError(f"{self.shown_url}{path} {fault}: {reason}") from None

    def fault(self, path: str, problem: str, status: int | None = None) -> RemoteServerError:
        """The error to raise for an answer that cannot be used."""
        return RemoteServerError(f"{self.shown_url}{path} {self.redacted(problem)}", status)

    def redacted(self, text: str) -> str:
        """`text` without the key, should the server repeat it, and not too long."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + " ..."

    def close(self) -> None:
        """Cancel what runs, refuse what comes, close all connections. Idempotent."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_closed())

    async def _until_closed(self) -> None:
        await self._stop.wait()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._http.aclose()

    def _check(self, path: str, response: httpx.Response) -> None:
        if response.is_success:
            return
        status = response.status_code
        problem = f"answered {status}: {_reason(response)}"
        if status in OVERLOADED:
            message = f"{self.shown_url}{path} {self.redacted(problem)}"
            raise RemoteUnavailableError(message, status, retry_after_s(response))
        raise self.fault(path, problem, status)

    def _json(self, path: str, response: httpx.Response) -> Json:
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            kind = response.headers.get("content-type", "no content type")
            problem = f"answered {response.status_code}, but no JSON object ({kind})"
            raise self.fault(path, problem, response.status_code)
        return answer


def _reason(response: httpx.Response) -> str:
    """What a refusal says of itself: the message of OpenAI's error object, or the body's beginning."""
    try:
        answer = response.json()
    except ValueError:
        return " ".join(response.text.split()) or response.reason_phrase
    return error_message(answer) or response.reason_phrase


def error_message(answer: Any) -> str:
    """The message in an error object, as one server or another writes it; empty if there is none."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    return str(error) if error else ""
