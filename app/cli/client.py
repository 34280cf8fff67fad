"""A client of the service's native API, for the terminal."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
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
    """Speaks to one running service."""

    def __init__(self, url: str, key: SecretStr | None = None) -> None:
        self.url = url
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(10, read=600), headers=headers)

    def is_ready(self) -> bool:
        try:
            return self._http.get("/readyz", timeout=2).is_success
        except httpx.TransportError:
            return False

    def get(self, path: str, **params: Any) -> Json:
        return self._answer(self._http.get(path, params=params))

    def post(self, path: str, body: Json) -> Json:
        return self._answer(self._http.post(path, json=body))

    def patch(self, path: str, body: Json) -> Json:
        return self._answer(self._http.patch(path, json=body))

    def put(self, path: str, body: Json | None = None) -> Json:
        return self._answer(self._http.put(path, json=body))

    def delete(self, path: str) -> Json:
        """What is answered; nothing to an answer without content."""
        response = self._http.delete(path)
        return {} if response.is_success and not response.content else self._answer(response)

    def upload(self, path: str, content: bytes, params: dict[str, str] | None = None) -> Json:
        return self._answer(self._http.post(path, params=params, content=content))

    def upload_file(self, path: str, file: Path, fields: dict[str, str]) -> Json:
        """A file with its name, as a form."""
        with file.open("rb") as content:
            return self._answer(self._http.post(path, data=fields, files={"file": (file.name, content)}))

    def download(self, method: str, path: str, params: dict[str, str], content: bytes = b"") -> bytes:
        response = self._http.request(method, path, params=params, content=content)
        if not response.is_success:
            self._answer(response)
        return response.content

    def save(self, path: str, params: dict[str, str], file: Path) -> None:
        """Write what the service sends to a file: all of it, or the file stays as it was."""
        try:
            with (
                self._http.stream("GET", path, params=params) as response,
                NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as partial,
            ):
                try:
                    if not response.is_success:
                        response.read()
                        self._answer(response)
                    for chunk in response.iter_bytes():
                        partial.write(chunk)
                    Path(partial.name).replace(file)
                finally:
                    Path(partial.name).unlink(missing_ok=True)
        except httpx.TransportError as error:
            raise ServiceError({"detail": f"the export broke off: {error}"}) from error

    def stream_reply(self, path: str, body: Json) -> Generator[tuple[str, Json]]:
        """The events of a reply as (event, data). Closing the iterator ends the generation."""
        with connect_sse(self._http, "POST", path, json={**body, "stream": True}) as source:
            if not source.response.is_success:
                source.response.read()
                self._answer(source.response)
            for event in source.iter_sse():
                yield event.event, event.json()

    def close(self) -> None:
        self._http.close()

    @staticmethod
    def _answer(response: httpx.Response) -> Json:
        if response.is_success:
            return dict(response.json())
        try:
            raise ServiceError(response.json())
        except ValueError:
            raise ServiceError({"detail": f"HTTP {response.status_code}: {response.text[:200]}"}) from None


@contextmanager
def service_client(settings: Settings, url: str | None) -> Iterator[tuple[ServiceClient, str]]:
    """A client of the service at `url`, or of the one on this machine, or of one in this process.

    Gives the client and where its service is, in words.
    """
    client = ServiceClient(url or f"http://{settings.host}:{settings.port}", settings.api_key)
    if client.is_ready():
        yield client, client.url
        client.close()
        return
    client.close()
    if url:
        raise ServiceError({"detail": f"no service is ready at {url}"})
    with _service_in_process(settings) as own_url:
        client = ServiceClient(own_url, settings.api_key)
        yield client, "this process"
        client.close()


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
