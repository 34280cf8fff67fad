"""`/metrics` counts what the service does, in a form that Prometheus reads, under labels that are bounded."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.app.service import StartService, open_stream

pytestmark = pytest.mark.stand_in

ENGINE_COUNTERS = (
    "prompt_tokens",
    "prepared_tokens",
    "generated_tokens",
    "drafted_tokens",
    "accepted_tokens",
)


def scrape(client: httpx.Client) -> dict[str, float]:
    """The samples by name and labels: `perdure_turns_total{end=stop}`."""
    text = client.get("/metrics").text
    return {
        sample.name + _braced(sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _braced(labels: dict[str, str]) -> str:
    inside = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    return f"{{{inside}}}" if inside else ""


def say(client: httpx.Client, session_id: str, content: str, **more: object) -> httpx.Response:
    body = {"content": content, "max_tokens": 8, "temperature": 0, **more}
    return client.post(f"/v1/sessions/{session_id}/messages", json=body)


def test_tokens_are_counted_as_the_replies_say(client: httpx.Client, session_id: str) -> None:
    before = scrape(client)
    engine = {name: value for name, value in before.items() if name.startswith("perdure_kv_")}
    assert set(engine.values()) == {0.0, before["perdure_kv_cache_max_bytes"]}
    for name in ENGINE_COUNTERS:
        assert {value for sample, value in before.items() if name in sample} == {0.0}
    usages = [say(client, session_id, content).json()["usage"] for content in ("Hello!", "Who are you?")]
    after = scrape(client)
    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
    assert after["perdure_prompt_tokens_total{cache=hit}"] == sum(cached) > 0
    computed = [usage["prompt_tokens"] - found for usage, found in zip(usages, cached, strict=True)]
    assert after["perdure_prompt_tokens_total{cache=miss}"] == sum(computed)
    assert after["perdure_generated_tokens_total"] == sum(usage["completion_tokens"] for usage in usages)
    assert after["perdure_accepted_tokens_total"] <= after["perdure_drafted_tokens_total"]
    assert 0 < after["perdure_kv_cache_bytes"] <= after["perdure_kv_cache_max_bytes"]
    assert after["perdure_requests_running"] == after["perdure_waiting_tokens"] == 0


def test_turns_are_counted_by_their_end_with_times_and_speeds(client: httpx.Client, session_id: str) -> None:
    before = scrape(client)
    for end in ("stop", "length", "cancelled", "timeout", "failed"):
        assert before[f"perdure_turns_total{{end={end}}}"] == 0
    story = "Tell me a long story about a ship, a whale and the sea, with many words in it, please."
    assert say(client, session_id, story, max_tokens=40).json()["message"]["finish_reason"] == "length"
    with open_stream(client, session_id, content=story, max_tokens=2000, temperature=0) as stream:
        assert [next(stream)[0] for _ in range(3)] == ["started", "delta", "delta"]
    while client.get(f"/v1/sessions/{session_id}/messages").json()["data"][-1]["status"] == "generating":
        pass
    say(client, session_id, "Go on.", if_busy="wait")
    after = scrape(client)
    assert after["perdure_turns_total{end=length}"] == 2
    assert after["perdure_turns_total{end=cancelled}"] == 1
    for timed in ("time_to_first_token", "turn_duration", "queue"):
        assert after[f"perdure_{timed}_seconds_count"] == 3
        assert after[f"perdure_{timed}_seconds_bucket{{le=+Inf}}"] == 3
    assert 0 < after["perdure_time_to_first_token_seconds_sum"] < after["perdure_turn_duration_seconds_sum"]
    assert after["perdure_prefill_tokens_per_second_count"] > 0
    assert after["perdure_decode_tokens_per_second_count"] > 0
    assert after["perdure_decode_tokens_per_second_sum"] > 0


def test_completions_are_counted_apart_from_turns(used_client: httpx.Client) -> None:
    before = scrape(used_client)
    body = {"model": "smollm2-135m-instruct", "prompt": "Once upon a time", "max_tokens": 3, "n": 2}
    assert used_client.post("/v1/completions", json=body).is_success
    after = scrape(used_client)
    name = "perdure_completions_total{end=length}"
    assert after[name] - before[name] == 2
    assert after["perdure_turns_total{end=length}"] == before["perdure_turns_total{end=length}"]


def test_requests_are_counted_by_route_and_errors_by_type_whatever_clients_send(
    used_client: httpx.Client,
) -> None:
    scrape(used_client)
    scrape(used_client)
    labels = set(scrape(used_client))
    first = used_client.get("/v1/sessions/ses_1").json()["type"]
    for number in range(20):
        used_client.get(f"/v1/sessions/ses_{number}")
        used_client.get(f"/nowhere/{number}")
        used_client.request("PROPFIND", "/v1/sessions")
        used_client.get("/v1/sessions", params={"limit": f"many {number}"})
    after = scrape(used_client)
    assert first == "urn:perdure:problem:not-found"
    assert after["perdure_errors_total{type=not-found}"] == 41
    assert after["perdure_errors_total{type=method-not-allowed}"] == 20
    assert after["perdure_errors_total{type=invalid-request}"] == 20
    by_route = "perdure_http_requests_total{method=GET,route=/v1/sessions/{session_id},status=404}"
    assert after[by_route] == 21
    assert after["perdure_http_requests_total{method=GET,route=other,status=404}"] == 20
    assert after["perdure_http_requests_total{method=GET,route=/v1/sessions,status=422}"] == 20
    new = {name for name in after if name not in labels and "_bucket" not in name}
    assert len(new) < 30, sorted(new)
    assert not any("ses_" in name or "PROPFIND" in name or "nowhere" in name for name in after)


def test_a_stream_that_ends_with_an_error_counts_it_though_its_status_is_200(
    start_service: StartService,
) -> None:
    client = start_service(queue_timeout_s=0.5, max_running=1)
    ids = [client.post("/v1/sessions", json={}).json()["id"] for _ in range(2)]
    with open_stream(client, ids[0], content="Tell a long story.", max_tokens=1000) as running:
        assert next(running)[0] == "started"
        assert next(running)[0] == "delta"
        with open_stream(client, ids[1], content="Hello!", max_tokens=8) as waiting:
            events = list(waiting)
    assert events[-1][0] == "error"
    after = scrape(client)
    assert after["perdure_errors_total{type=queue-timeout}"] == 1
    assert after["perdure_turns_total{end=timeout}"] == 1


def test_upkeep_that_lags_is_seen_until_it_is_done(start_service: StartService) -> None:
    client = start_service()
    memory = {"strategy": "facts", "extractor": "off"}
    session_id = client.post("/v1/sessions", json={"memory": memory}).json()["id"]
    told = {"messages": [{"role": "user", "content": f"My name is Ann, {n}."} for n in range(3)]}
    assert client.post(f"/v1/sessions/{session_id}/messages/append", json=told).is_success
    assert scrape(client)["perdure_facts_behind_messages"] == 0, "nobody waits for what is switched off"
    read = client.patch(f"/v1/sessions/{session_id}", json={"memory": memory | {"extractor": "rules"}})
    assert read.is_success
    assert scrape(client)["perdure_facts_behind_messages"] in (0, 3)
    assert client.post(f"/v1/sessions/{session_id}/messages/append", json=told).is_success
    while (now := scrape(client))["perdure_facts_behind_messages"]:
        assert now["perdure_facts_behind_messages"] <= 6
    assert now["perdure_summaries_behind_messages"] == 0
    assert client.get(f"/v1/sessions/{session_id}/facts").json()["data"]


def test_a_fault_is_answered_under_the_id_of_its_request_and_counted(
    used_client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("app.api.catalog.getdoc", fail)
    answer = used_client.get("/v1/strategies")
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:perdure:problem:internal-error")
    assert len(answer.headers["x-request-id"]) == 32
    after = scrape(used_client)
    assert after["perdure_errors_total{type=internal-error}"] == 1
    assert after["perdure_http_requests_total{method=GET,route=/v1/strategies,status=500}"] == 1
