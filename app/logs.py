"""Structured logs on standard error: lines for people, or JSON for machines."""

import asyncio
import logging
import sys

import structlog

from app.settings import Settings
from app.telemetry.tracing import trace_ids


def configure_logs(settings: Settings) -> None:
    """Send the logs of the service and of its libraries one way."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        lambda _logger, _method, event: {**event, **trace_ids()},
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if settings.log_format == "json"
        # Plain tracebacks: they show no values, which may be what users said, or a whole vocabulary.
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    handler.addFilter(lambda record: _hushed(record).levelno >= level)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Each request has its line already; libraries speak up when something is wrong.
    for noisy in ("uvicorn.access", "httpx", "alembic", "filelock", "aiosqlite"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _hushed(record: logging.LogRecord) -> logging.LogRecord:
    """A record. A roll-back that is cancelled with its query is an error with a traceback to SQLAlchemy's
    pool, which gives the connection up: of that one line, for those who debug.
    """
    error = record.exc_info[1] if record.exc_info else None
    if record.name.startswith("sqlalchemy.pool") and isinstance(error, asyncio.CancelledError):
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        record.exc_info = None
    return record
