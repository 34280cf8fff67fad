"""`perdure serve`: the service."""

from typing import Annotated, Any

import typer

from app.cli.progress import stage_progress
from app.settings import Settings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
) -> None:
    """Serve the HTTP API, with the model behind it. Settings come from PERDURE_* and .env."""
    given: dict[str, Any] = {"host": host, "port": port}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})

    from app.access.authentication import check_a_key_exists, is_loopback
    from app.home import claim_home
    from app.storage.database import reach

    with claim_home(settings.home):
        reach(settings.database)  # before the model is loaded, which takes its time
        if not is_loopback(settings.host):
            check_a_key_exists(settings)

    from app.logs import configure_logs
    from app.models.chat import open_chat_model
    from app.server import create_app
    from app.telemetry.tracing import start_exporting
    from app.web_server import WebServer
    from llm.catalog import EMBEDDING_MODEL, ensure_model

    start_exporting()
    with claim_home(settings.home), stage_progress() as progress:
        ensure_model(EMBEDDING_MODEL, settings.models_folder, progress)
        model = open_chat_model(settings, progress)
    configure_logs(settings)
    server = WebServer(create_app(settings, model, warm_up=True), host=settings.host, port=settings.port)
    server.run()
    if not server.started:
        raise typer.Exit(1)
