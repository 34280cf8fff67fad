"""`/metrics` counts what the engine does, in a form that Prometheus reads."""

import httpx
from prometheus_client.parser import text_string_to_metric_families


def scrape(client: httpx.Client) -> dict[str, float]:
    text = client.get("/metrics").text
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_tokens_are_counted_as_the_replies_say(client: httpx.Client, session_id: str) -> None:
    before = scrape(client)
    assert set(before.values()) <= {0.0, before["perdure_kv_cache_max_bytes"]}
    usages = []
    for content in ("Hello!", "Who are you?"):
        answer = client.post(
            f"/v1/sessions/{session_id}/messages", json={"content": content, "max_tokens": 8}
        )
        usages.append(answer.json()["usage"])
    after = scrape(client)
    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
    assert after["perdure_prompt_tokens_totalhit"] == sum(cached) > 0
    computed = [usage["prompt_tokens"] - found for usage, found in zip(usages, cached, strict=True)]
    assert after["perdure_prompt_tokens_totalmiss"] == sum(computed)
    assert after["perdure_generated_tokens_total"] == sum(usage["completion_tokens"] for usage in usages)
    assert after["perdure_accepted_tokens_total"] <= after["perdure_drafted_tokens_total"]
    assert 0 < after["perdure_kv_cache_bytes"] <= after["perdure_kv_cache_max_bytes"]
    assert after["perdure_requests_running"] == after["perdure_waiting_tokens"] == 0
