"""Traces of OpenTelemetry: a request, its turn by its stages, and the upkeep that follows from it.

Without an SDK, spans cost next to nothing. No attribute holds anything that users said, named or chose:
only ids that were given out here, counts, and the templates of routes. So exceptions are not recorded, but
for what kind they are.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from app import __version__
from app.settings import SettingsError

FLUSH_S = 5.0

Attributes = Mapping[str, str | int | float | bool]

_tracer = trace.get_tracer("perdure", __version__)
_SWITCHES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")


def start_exporting(environment: Mapping[str, str] = os.environ) -> None:
    """Send spans where OpenTelemetry's standard variables say, if any does.

    Raises SettingsError for what is not installed or not known.
    """
    name = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() or "otlp"
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_disabled or name == "none" or not any(environment.get(switch) for switch in _SWITCHES):
        return
    try:
        sdk = import_module("opentelemetry.sdk.trace")
        export = import_module("opentelemetry.sdk.trace.export")
        resources = import_module("opentelemetry.sdk.resources")
        exporter = _exporter(name, export, environment)
    except ImportError as error:
        raise SettingsError(
            f"OTEL_* asks for traces, but {error.name} is not installed: pip install 'perdure[otel]'"
        ) from error
    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say comes first.
    named = resources.Resource({"service.name": "perdure", "service.version": __version__})
    detected = resources.OTELResourceDetector().detect()
    provider = sdk.TracerProvider(resource=named.merge(detected))
    provider.add_span_processor(export.BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


async def flush() -> None:
    """Send the spans that are left, if they are sent anywhere; not for longer than `FLUSH_S`."""
    force_flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if force_flush is not None:
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(force_flush), FLUSH_S)


def _exporter(name: str, export: Any, environment: Mapping[str, str]) -> Any:
    if name == "console":
        return export.ConsoleSpanExporter()
    if name != "otlp":
        raise SettingsError(f"OTEL_TRACES_EXPORTER is {name!r}; known are otlp, console and none")
    protocol = next(
        (
            found
            for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
            if (found := environment.get(variable))
        ),
        "http/protobuf",
    )
    if protocol != "http/protobuf":
        raise SettingsError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; spans are sent by http/protobuf")
    return import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter").OTLPSpanExporter()


@contextmanager
def request_span(method: str, headers: Mapping[str, str], attributes: Attributes) -> Iterator[Span]:
    """The span of a request, under the one of its `traceparent` if there is one."""
    parent = propagate.extract(headers)
    span = _tracer.start_span(method, context=parent, kind=SpanKind.SERVER, attributes=attributes)
    with _current(span, ends=True):
        yield span


@contextmanager
def stage(name: str, attributes: Attributes | None = None) -> Iterator[Span]:
    """A span under the current one, until the block ends."""
    span = _tracer.start_span(name, attributes=attributes)
    if not span.is_recording():  # nothing under it would tell it from the current one
        yield span
        return
    with _current(span, ends=True):
        yield span


@contextmanager
def begun(name: str, attributes: Attributes) -> Iterator[Span]:
    """A span under the current one that goes on behind the block, unless that raises: somebody ends it."""
    span = _tracer.start_span(name, attributes=attributes)
    with _current(span, ends=False):
        yield span


@contextmanager
def following(name: str, attributes: Attributes) -> Iterator[Span]:
    """A trace of its own, linked to the span that it follows from, which is the current one."""
    cause = trace.get_current_span().get_span_context()
    links = [Link(cause)] if cause.is_valid else []
    span = _tracer.start_span(name, context=Context(), links=links, attributes=attributes)
    with _current(span, ends=True):
        yield span


def past_stage(span: Span, name: str, began_ns: int, ended_ns: int, attributes: Attributes) -> None:
    """A stage under `span` that is over: from when to when, in nanoseconds of the epoch."""
    if not span.is_recording():
        return
    under = trace.set_span_in_context(span, Context())
    stage_span = _tracer.start_span(name, context=under, start_time=began_ns, attributes=attributes)
    stage_span.end(max(began_ns, ended_ns))


def mark_failed(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


def trace_headers() -> dict[str, str]:
    """What lets another service go on with the trace of the current span; nothing without a trace."""
    headers: dict[str, str] = {}
    propagate.inject(headers)
    return headers


def trace_ids() -> dict[str, str]:
    """The ids of the current span, as logs have them; none without a trace."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


@contextmanager
def _current(span: Span, *, ends: bool) -> Iterator[None]:
    raised = False
    try:
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield
    except BaseException as error:
        raised = True
        mark_failed(span, type(error).__name__)
        raise
    finally:
        if ends or raised:
            span.end()
