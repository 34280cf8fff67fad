"""`/metrics`: what has been counted, and how engine and upkeep stand, in Prometheus' text format."""

from collections.abc import Iterator

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from app.api.dependencies import ServiceDep
from app.recall.service import QueryTimes
from app.upkeep.service import Lag
from llm.engine.interface import EngineStats

router = APIRouter()


class EngineCollector(Collector):
    """The figures of an engine at one moment, as metrics."""

    def __init__(self, stats: EngineStats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        prompts = CounterMetricFamily(
            "perdure_prompt_tokens",
            "Tokens of prompts: found in the KV cache (hit) or computed (miss)",
            labels=["cache"],
        )
        prompts.add_metric(["hit"], stats.found_tokens)
        prompts.add_metric(["miss"], stats.computed_tokens)
        yield prompts
        yield CounterMetricFamily(
            "perdure_prepared_tokens",
            "Tokens of coming prompts, computed while nobody waited",
            value=stats.prepared_tokens,
        )
        yield CounterMetricFamily(
            "perdure_generated_tokens", "Tokens of replies", value=stats.generated_tokens
        )
        yield CounterMetricFamily(
            "perdure_drafted_tokens", "Tokens of replies guessed from the context", value=stats.drafted_tokens
        )
        yield CounterMetricFamily(
            "perdure_accepted_tokens",
            "Tokens of replies that took no step of their own, being guessed right",
            value=stats.accepted_tokens,
        )
        yield CounterMetricFamily(
            "perdure_kv_cache_evicted_blocks",
            "Blocks dropped from the KV cache for want of room",
            value=stats.kv_evicted_blocks,
        )
        gauges = {
            "perdure_kv_cache_bytes": ("Bytes of cached keys and values", stats.kv_bytes),
            "perdure_kv_cache_max_bytes": (
                "Bytes that cached and running keys and values may take",
                stats.kv_max_bytes,
            ),
            "perdure_kv_cache_blocks": ("Blocks in the KV cache", stats.kv_blocks),
            "perdure_kv_cache_disk_bytes": ("Bytes of idle chats' cache on the disk", stats.kv_disk_bytes),
            "perdure_requests_running": ("Requests that are being computed", stats.running),
            "perdure_requests_waiting": ("Requests that wait for the model", stats.waiting),
            "perdure_waiting_tokens": ("Tokens of prompts that wait to be computed", stats.waiting_tokens),
        }
        for name, (description, value) in gauges.items():
            yield GaugeMetricFamily(name, description, value=value)


class RecallCollector(Collector):
    """The figures of recall at one moment: passages on the shelves, messages not indexed, searches."""

    def __init__(self, passages: int, behind: int, times: QueryTimes) -> None:
        self._passages = passages
        self._behind = behind
        self._times = times

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "perdure_recall_passages", "Passages of what was said, on all shelves", value=self._passages
        )
        yield GaugeMetricFamily(
            "perdure_recall_behind_messages", "Messages that are not indexed yet", value=self._behind
        )
        yield SummaryMetricFamily(
            "perdure_recall_query_seconds",
            "Time of a search of what was said",
            count_value=self._times.count,
            sum_value=self._times.seconds,
        )


class UpkeepCollector(Collector):
    """How far what is derived from messages lags behind them, at one moment."""

    def __init__(self, lag: Lag) -> None:
        self._lag = lag

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "perdure_upkeep_waiting_sessions",
            "Sessions that wait for their upkeep, or have it now",
            value=self._lag.sessions,
        )
        yield GaugeMetricFamily(
            "perdure_summaries_behind_messages",
            "Messages of the summaries that are due, in sessions that changed since the start",
            value=self._lag.summaries,
        )
        yield GaugeMetricFamily(
            "perdure_facts_behind_messages",
            "Messages that no facts are extracted from yet, in sessions whose memory keeps facts",
            value=self._lag.facts,
        )


@router.get("/metrics", tags=["health"], response_class=Response)
async def metrics(service: ServiceDep) -> Response:
    """Turns, times, speeds, requests and errors since the start; the engine's tokens, cache and queue now;
    and how far upkeep lags.
    """
    registry = CollectorRegistry()
    registry.register(EngineCollector(service.model.engine.stats))
    passages, behind = await service.chat.recall.totals()
    registry.register(RecallCollector(passages, behind, service.chat.recall.times))
    registry.register(UpkeepCollector(await service.chat.upkeep.lag()))
    text = generate_latest(service.metrics.registry) + generate_latest(registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
