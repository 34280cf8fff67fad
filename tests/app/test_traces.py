"""Traces and logs of a real process: a turn by its stages, under its request's id, without what was said."""

import json
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.settings import SettingsError
from app.telemetry.tracing import start_exporting
from tests.app.processes import service_process
from tests.app.service import open_stream, until
from tests.openai_server import MODEL, Answer, ScriptedServer, serve, sse

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
SAID, USER, PERSONA = "Quetzalcoatlus", "Wolfeschlegelstein", "Ozymandias"
STAGES = {"lock", "admit", "assemble", "store", "queue", "prefill", "decode"}


@dataclass
class Collected:
    """What an OTLP receiver was sent."""

    spans: list[Any] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    raw: bytes = b""

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]

    def under(self, parent: Any) -> list[Any]:
        return [span for span in self.spans if span.parent_span_id == parent.span_id]


@contextmanager
def receiver() -> Iterator[tuple[str, Collected]]:
    collected = Collected()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            request = ExportTraceServiceRequest.FromString(body)
            for each in request.resource_spans:
                collected.resources.append({a.key: a.value.string_value for a in each.resource.attributes})
                for scope in each.scope_spans:
                    collected.spans.extend(scope.spans)
            collected.raw += body
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", collected
        server.shutdown()


def lines_of(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


@dataclass
class Told:
    """What was done with the traced service, and what it told."""

    collected: Collected
    lines: Sequence[dict[str, Any]]
    request_id: str
    session_id: str


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, models_folder: Path) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("traced")
    with (
        receiver() as (endpoint, collected),
        service_process(
            folder / "home",
            PERDURE_LOG_FORMAT="json",
            PERDURE_MODELS=str(models_folder),
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment=test",
        ) as (process, client),
    ):
        persona = client.post("/v1/personas", json={"name": PERSONA, "instructions": f"You are {PERSONA}."})
        body = {
            "user_id": USER,
            "persona_id": persona.json()["id"],
            "memory": {"strategy": "combined"},
        }
        session_id = client.post("/v1/sessions", json=body).json()["id"]
        path = f"/v1/sessions/{session_id}/messages"
        caller = {"traceparent": f"00-{TRACE_ID}-{CALLER}-01"}
        message = {"content": f"My name is {SAID}.", "max_tokens": 24}
        answer = client.post(path, json=message, headers=caller).raise_for_status()
        with open_stream(client, session_id, content=f"Tell of {SAID}.", max_tokens=8) as stream:
            assert [event for event, _ in stream][-1] == "finished"
        assert client.post(path, json={"content": SAID, "temperature": SAID}).status_code == 422
        assert client.get(f"/v1/sessions/{session_id}/context", params={"content": SAID}).is_success
        client.get(f"/v1/users/{USER}/export")
        client.post(path, json={"content": f"{SAID} " * 2500})
        indexed = {"passages": 4, "waiting": 0, "behind": 0}
        until(lambda: client.get("/v1/recall/status").json(), lambda said: said.items() >= indexed.items())
        process.send_signal(signal.SIGTERM)
        log = process.done(30).stderr
        yield Told(collected, lines_of(log), answer.headers["x-request-id"], session_id)


def test_a_turn_is_traced_by_its_stages_under_the_span_of_its_caller(told: Told) -> None:
    collected = told.collected
    [request] = [span for span in collected.spans if span.parent_span_id.hex() == CALLER]
    assert request.name == "POST /v1/sessions/{session_id}/messages"
    said = attributes(request)
    assert said["perdure.request_id"] == told.request_id
    assert (said["http.route"], said["http.response.status_code"]) == (
        "/v1/sessions/{session_id}/messages",
        200,
    )
    [turn] = collected.under(request)
    assert turn.name == "turn"
    assert turn.trace_id.hex() == TRACE_ID
    assert attributes(turn) == {
        "perdure.session": told.session_id,
        "perdure.end": attributes(turn)["perdure.end"],
    }
    stages = collected.under(turn)
    assert {span.name for span in stages} == STAGES
    [assemble] = [span for span in stages if span.name == "assemble"]
    assert {span.name for span in collected.under(assemble)} == {"history", "recall", "tokenise"}
    by_name = {span.name: span for span in stages}
    for before, after in (("queue", "prefill"), ("prefill", "decode")):
        assert by_name[before].end_time_unix_nano == by_name[after].start_time_unix_nano
    for span in stages:
        assert turn.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= turn.end_time_unix_nano
    assert attributes(by_name["decode"])["gen_ai.usage.output_tokens"] > 0
    resource = collected.resources[0]
    assert (resource["service.name"], resource["deployment.environment"]) == ("perdure", "test")


def test_upkeep_is_a_trace_of_its_own_that_is_linked_to_the_turn(told: Told) -> None:
    spans = {span.span_id: span for span in told.collected.spans}
    upkeep = told.collected.named("upkeep")
    assert upkeep
    for span in (*upkeep, *told.collected.named("prepare")):
        assert not span.parent_span_id
        [link] = span.links
        assert spans[link.span_id].trace_id == link.trace_id != span.trace_id
    assert "turn" in {spans[span.links[0].span_id].name for span in upkeep}
    assert {span.name for span in told.collected.under(upkeep[0])} >= {"summarise", "extract"}


def test_indexing_for_recall_is_traced_with_what_it_counted(told: Told) -> None:
    shelved = [attributes(span) for span in told.collected.named("shelve")]
    assert {each["perdure.session"] for each in shelved} == {told.session_id}
    assert sum(each["perdure.messages"] for each in shelved) == 4
    indexed = [attributes(span) for span in told.collected.named("index")]
    by_index = {each["perdure.index"] for each in indexed}
    assert len(by_index) == 2
    for name in by_index:
        of_one = [each for each in indexed if each["perdure.index"] == name]
        assert sum(each["perdure.added"] for each in of_one) == 4
        assert {each["perdure.removed"] for each in of_one} == {0}
        assert len({each["perdure.shelf"] for each in of_one}) == 1


def test_a_remote_engine_is_sent_the_span_of_the_turn(tmp_path: Path, models_folder: Path) -> None:
    nothing_else = [Answer(status=404)] * 4  # no models, no properties, no /tokenize of either kind
    said = sse({"choices": [{"delta": {"content": "Hm."}, "finish_reason": "stop"}]})
    server = ScriptedServer(*nothing_else, Answer((said, "data: [DONE]\n\n")))
    with (
        receiver() as (endpoint, collected),
        serve(server.app) as url,
        service_process(
            tmp_path,
            PERDURE_MODELS=str(models_folder),
            PERDURE_REMOTE_URL=url,
            PERDURE_REMOTE_API="chat",
            PERDURE_REMOTE_MODEL=MODEL,
            PERDURE_REMOTE_TOKENIZER="smollm2-135m-instruct",
            PERDURE_CONTEXT_WINDOW="2048",
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
        ) as (process, client),
    ):
        path = f"/v1/sessions/{client.post('/v1/sessions', json={}).json()['id']}/messages"
        caller = {"traceparent": f"00-{TRACE_ID}-{CALLER}-01"}
        client.post(path, json={"content": "Hello."}, headers=caller).raise_for_status()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    [turn] = collected.named("turn")
    sent = [headers["traceparent"] for headers in server.headers if "traceparent" in headers]
    assert f"00-{TRACE_ID}-{turn.span_id.hex()}-01" in sent


def test_nothing_that_users_said_or_named_is_in_traces_or_logs(told: Told) -> None:
    for word in (SAID, USER, PERSONA):
        assert word.encode() not in told.collected.raw
    assert not any(SAID in json.dumps(line) or PERSONA in json.dumps(line) for line in told.lines)
    failed = [span for span in told.collected.named("turn") if "error.type" in attributes(span)]
    assert [attributes(span)["error.type"] for span in failed] == ["MessageTooLargeError"]
    assert not any(span.events for span in told.collected.spans)


def test_every_line_of_a_request_and_of_its_turn_has_their_ids(told: Told) -> None:
    of_request = [line for line in told.lines if line.get("request_id") == told.request_id]
    assert {line["event"] for line in of_request} >= {"request", "turn"}
    assert {line["trace_id"] for line in of_request if line["event"] in ("request", "turn")} == {TRACE_ID}
    turns = [line for line in told.lines if line["event"] == "turn"]
    requests = {line["request_id"] for line in told.lines if line["event"] == "request"}
    assert len(turns) == 2
    assert {line["request_id"] for line in turns} <= requests
    [turn] = [line for line in of_request if line["event"] == "turn"]
    assert turn["session"] == told.session_id
    assert turn["ms"] >= turn["ttft_ms"] > 0


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "perdure"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
    ],
)
def test_traces_are_off_unless_they_are_asked_for(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.telemetry.tracing.import_module", pytest.fail)
    start_exporting(environment)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "'zipkin'; known are otlp, console and none"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "'grpc'; spans are sent by http/protobuf",
        ),
    ],
)
def test_an_exporter_that_is_not_known_is_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)):
        start_exporting(environment)


def test_traces_without_their_packages_name_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=re.escape("pip install 'perdure[otel]'")):
        start_exporting({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
