"""A service for a benchmark: a process of its own, on loopback, with a new home folder and an open door."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

from app.logs import configure_logs
from app.models.chat import open_chat_model
from app.server import create_app
from app.settings import Settings
from app.web_server import serve_in_thread

STOP_TIMEOUT_S = 30.0


class ServiceEndedError(Exception):
    """The service ended before it was ready; it has printed why."""


@contextmanager
def own_service(settings: Settings) -> Iterator[str]:
    """The URL of a service with these settings, but for what is stored and who may come in."""
    with TemporaryDirectory(prefix="perdure-bench-") as home:
        nothing_of_the_users = {
            "home": Path(home),
            "models": settings.models_folder,
            "host": "127.0.0.1",
            "database_url": None,
            "chroma_url": None,
            "log_level": "warning",
        }
        here, there = (context := get_context("spawn")).Pipe()
        process = context.Process(
            target=_serve, args=(settings.model_copy(update=nothing_of_the_users), there), daemon=True
        )
        process.start()
        there.close()
        try:
            yield str(here.recv())
        except EOFError as error:
            raise ServiceEndedError("the service ended before it was ready") from error
        finally:
            here.close()
            process.join(STOP_TIMEOUT_S)
            process.kill()
            process.join()


def _serve(settings: Settings, starter: Connection) -> None:
    """Until the other end of the pipe is closed."""
    configure_logs(settings)
    with serve_in_thread(create_app(settings, open_chat_model(settings), warm_up=True)) as url:
        starter.send(url)
        with suppress(EOFError):
            starter.recv()
