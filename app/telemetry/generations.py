"""Follows one generation from its submission to its end, for the metrics and as stages of its span."""

import time

from opentelemetry import trace

from app.telemetry.metrics import End, GenerationKind, Metrics
from app.telemetry.tracing import mark_failed, past_stage
from llm.engine.interface import Started

LEAST_TOKENS = 16
"""A speed of fewer would measure what a step takes beside its tokens."""


class GenerationWatch:
    """Made when the request is submitted, inside the span that its stages belong to.

    `arrived_at`: `time.perf_counter()` when the client asked.
    """

    def __init__(self, metrics: Metrics, kind: GenerationKind, *, arrived_at: float) -> None:
        self._metrics = metrics
        self._kind = kind
        self._arrived_at = arrived_at
        self.span = trace.get_current_span()
        # A clock that is set back meanwhile turns no stage round.
        self._epoch_ns = time.time_ns() - time.perf_counter_ns()
        self._submitted_ns = self._now()
        self._started_ns: int | None = None
        self._has_text = False

    def started(self, event: Started) -> None:
        """The prompt is done."""
        self._started_ns = now = self._now()
        began = self._submitted_ns + round(event.queued_s * 1e9)
        computed = event.prompt_tokens - event.cached_tokens
        self._metrics.queued(event.queued_s)
        if computed >= LEAST_TOKENS and now > began:
            self._metrics.prefilled(computed / (now - began) * 1e9)
        past_stage(self.span, "queue", self._submitted_ns, began, {})
        counts = {"gen_ai.usage.input_tokens": event.prompt_tokens}
        past_stage(self.span, "prefill", began, now, counts | {"perdure.cached_tokens": event.cached_tokens})

    def text(self) -> None:
        """Text went out; only the first counts."""
        if not self._has_text:
            self._has_text = True
            self._metrics.first_token(time.perf_counter() - self._arrived_at)

    def generated(self, tokens: int) -> None:
        """The last token is there; `tokens`: of the reply."""
        if self._started_ns is None:
            past_stage(self.span, "queue", self._submitted_ns, self._now(), {})
            return
        now = self._now()
        if tokens > LEAST_TOKENS and now > self._started_ns:
            self._metrics.decoded((tokens - 1) / (now - self._started_ns) * 1e9)
        past_stage(self.span, "decode", self._started_ns, now, {"gen_ai.usage.output_tokens": tokens})

    def ended(self, end: End) -> None:
        """Nothing more comes of it. The span is left to whoever began it."""
        self._metrics.ended(self._kind, end, time.perf_counter() - self._arrived_at)
        self.span.set_attribute("perdure.end", end)
        if end in ("failed", "timeout"):
            mark_failed(self.span, end)

    def _now(self) -> int:
        return self._epoch_ns + time.perf_counter_ns()
