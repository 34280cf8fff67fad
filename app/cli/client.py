"""A client of the service's native API, for the terminal."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import httpx
from httpx_sse import connect_sse
from pydantic import SecretStr

from app.cli.progress import stage_progress
from app.home import claim_home
from app.settings import Settings

Json = dict[str, Any]


class ServiceError(Exception):
    """The service refused or failed; the message is its problem document's detail."""

    def __init__(self, problem: Json) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or problem))
        self.problem = problem


class ServiceClient:
    """Speaks to one running service; `where` says in words where that is."""

    def __init__(self, url: str, key: SecretStr | None, where: str | None = None) -> None:
        self.url = url
        self.key = key
        self.where = where or url
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(10, read=600), headers=headers)

    def is_ready(self, within_s: float = 2) -> bool:
        """Whether it says so within that time."""
        try:
            return self._http.get("/readyz", timeout=within_s).is_success
        except httpx.TransportError:
            return False

    def get(self, path: str, **params: Any) -> Json:
        return self._answer("GET", path, params=params)

    def post(self, path: str, body: Json) -> Json:
        return self._answer("POST", path, json=body)

    def patch(self, path: str, body: Json) -> Json:
        return self._answer("PATCH", path, json=body)

    def put(self, path: str, body: Json | None = None) -> Json:
        return self._answer("PUT", path, json=body)

    def delete(self, path: str) -> Json:
        return self._answer("DELETE", path)

    def upload(self, path: str, content: bytes, params: dict[str, str] | None = None) -> Json:
        return self._answer("POST", path, params=params, content=content)

    def upload_file(self, path: str, file: Path, fields: dict[str, str]) -> Json:
        """A file with its name, as a form."""
        with file.open("rb") as content:
            return self._answer("POST", path, data=fields, files={"file": (file.name, content)})

    def download(self, method: str, path: str, params: dict[str, str], content: bytes = b"") -> bytes:
        return self._request(method, path, params=params, content=content).content

    def save(self, path: str, params: dict[str, str], file: Path) -> None:
        """Write what the service sends to a file: all of it, or the file stays as it was."""
        with (
            _connected(),
            self._http.stream("GET", path, params=params) as response,
            NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as partial,
        ):
            try:
                _check(response)
                for chunk in response.iter_bytes():
                    partial.write(chunk)
                Path(partial.name).replace(file)
            finally:
                Path(partial.name).unlink(missing_ok=True)

    def stream_reply(self, path: str, body: Json) -> Generator[tuple[str, Json]]:
        """The events of a reply as (event, data). Closing the iterator ends the generation."""
        with _connected(), connect_sse(self._http, "POST", path, json={**body, "stream": True}) as source:
            _check(source.response)
            for event in source.iter_sse():
                yield event.event, event.json()

    def close(self) -> None:
        self._http.close()

    def _answer(self, method: str, path: str, **sent: Any) -> Json:
        """What is answered; nothing to an answer without content."""
        response = self._request(method, path, **sent)
        return dict(response.json()) if response.content else {}

    def _request(self, method: str, path: str, **sent: Any) -> httpx.Response:
        with _connected():
            response = self._http.request(method, path, **sent)
        _check(response)
        return response


@contextmanager
def _connected() -> Iterator[None]:
    """Raises ServiceError where the connection does not hold."""
    try:
        yield
    except httpx.TransportError as error:
        why = str(error) or type(error).__name__
        raise ServiceError({"detail": f"the connection to the service broke off: {why}"}) from error


def _check(response: httpx.Response) -> None:
    if response.is_success:
        return
    response.read()
    try:
        problem = response.json()
    except ValueError:
        problem = {"detail": f"HTTP {response.status_code}: {response.text[:200]}"}
    raise ServiceError(problem)


def running_service(settings: Settings, url: str | None) -> ServiceClient | None:
    """A client of the service at `url`, or of the one on this machine, if there is one.

    Raises ServiceError if none is ready at `url`.
    """
    client = ServiceClient(url or f"http://{settings.host}:{settings.port}", settings.api_key)
    if client.is_ready():
        return client
    client.close()
    if url:
        raise ServiceError({"detail": f"no service is ready at {url}"})
    return None


@contextmanager
def service_client(url: str | None) -> Iterator[ServiceClient]:
    """A client of the service at `url`, or of the one on this machine, or of one in this process."""
    settings = Settings()
    with ExitStack() as stack:
        client = running_service(settings, url)
        if client is None:
            own_url = stack.enter_context(_service_in_process(settings))
            client = ServiceClient(own_url, settings.api_key, "this process")
        yield stack.enter_context(closing(client))


@contextmanager
def _service_in_process(settings: Settings) -> Iterator[str]:
    from app.logs import configure_logs
    from app.models.chat import open_chat_model
    from app.server import create_app
    from app.web_server import serve_in_thread

    configure_logs(settings.model_copy(update={"log_level": "warning"}))
    with claim_home(settings.home), stage_progress() as progress:
        model = open_chat_model(settings, progress)
    # It listens on loopback, wherever a service would.
    here = settings.model_copy(update={"host": "127.0.0.1"})
    with serve_in_thread(create_app(here, model)) as url:
        yield url
