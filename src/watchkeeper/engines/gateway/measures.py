"""What the gateway measures of itself, for Prometheus: few labels, base units, no person's name and no prompt."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from watchkeeper.engines.decide.timing import BOUNDS_S, Timing
from watchkeeper.records.decision import Decision
from watchkeeper.records.span import Span

_OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0)
_OPERATION_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_TOKEN_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_PER_TOKEN_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
MOST_MODELS = 50
OTHER = "other"
_OWN_ERRORS = frozenset(
    {
        "cancelled",
        "client_disconnected",
        "malformed_reply",
        "recording_unavailable",
        "reservation_spent",
        "stream_incomplete",
        "upstream_disconnected",
        "upstream_timeout",
        "upstream_unreachable",
    }
)
_BILLION = 1_000_000_000
_classes = tuple(f"{first}xx" for first in range(10))

_COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "watchkeeper_gateway_requests": ("Requests answered.", ("upstream", "status")),
    "watchkeeper_gateway_errors": ("Calls that ended in an error.", ("upstream", "error")),
    "watchkeeper_gateway_tokens": ("Tokens that upstreams reported.", ("upstream", "direction")),
    "watchkeeper_gateway_decisions": ("Rulings of policies.", ("policy", "verdict", "mode")),
    "watchkeeper_gateway_recorder_drops": ("Records that could not be written.", ("what",)),
    "watchkeeper_gateway_unsettled": ("Calls whose use is unknown and stays charged as reserved.", ()),
    "watchkeeper_gateway_faults": ("Errors inside the gateway.", ()),
}
_HISTOGRAMS: dict[str, tuple[str, tuple[str, ...], tuple[float, ...]]] = {
    "watchkeeper_gateway_overhead_seconds": (
        "Time of a call that was not spent waiting for the upstream or the client.",
        ("upstream",),
        _OVERHEAD_S,
    ),
    "gen_ai_server_request_duration_seconds": (
        "Whole time of a call, waiting for the upstream included.",
        ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "error_type"),
        _OPERATION_S,
    ),
    "gen_ai_server_time_to_first_token_seconds": (
        "Time from a streamed call's start to its first token.",
        ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"),
        _FIRST_TOKEN_S,
    ),
    "gen_ai_server_time_per_output_token_seconds": (
        "Time for each token of a streamed call after the first.",
        ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"),
        _PER_TOKEN_S,
    ),
    "gen_ai_client_token_usage": (
        "Tokens of a call, as the upstream reported them.",
        ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"),
        _TOKENS,
    ),
}
"""Names are those of OpenTelemetry's conventions for generative AI as Prometheus writes them; units are base units."""


class _Histogram:
    """Counts in buckets, and a sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as the text format wants them."""
        running, rows = 0, []
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            running += count
            rows.append((bound, float(running)))
        return rows


class _Series(NamedTuple):
    """The histograms of calls that are alike."""

    whole: _Histogram
    first: _Histogram
    each: _Histogram
    input: _Histogram
    output: _Histogram


class Measures:
    """Counters and histograms, kept as plain numbers in the call path and put into words when they are asked for.

    A caller can name any model, so a name becomes a label only when an upstream answered for it, and only the first
    `most_models`; all others are "other". Upstreams and policies are the owner's. `registry` is a registry of their
    own, in which others may stand too.
    """

    def __init__(self, most_models: int = MOST_MODELS) -> None:
        self._most_models = most_models
        self._models: set[str] = set()
        self._series: dict[tuple[str, str, str, str | None], _Series] = {}
        self._depths: dict[str, Callable[[], int]] = {}
        self._streams: Callable[[], int] = lambda: 0
        self._timings: Mapping[str, Timing] = {}
        self._counts: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in _COUNTERS}
        self._requests = self._counts["watchkeeper_gateway_requests"]
        self._tokens = self._counts["watchkeeper_gateway_tokens"]
        self._decisions = self._counts["watchkeeper_gateway_decisions"]
        self._histograms: dict[str, dict[tuple[str, ...], _Histogram]] = {name: {} for name in _HISTOGRAMS}
        self._in_flight = 0
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def started(self) -> None:
        """A request came in."""
        self._in_flight += 1

    def ended(self) -> None:
        """A request was answered or given up."""
        self._in_flight -= 1

    def refused(self, status: int) -> None:
        """A request was refused before it was a call: no key, no such path."""
        self._counts["watchkeeper_gateway_requests"][("none", f"{status // 100}xx")] += 1

    def call(self, span: Span) -> None:
        """A call has ended; its finished span says how."""
        upstream = span.upstream or "none"
        self._requests[(upstream, _classes[(span.http_status or 0) // 100 % 10])] += 1
        if span.error_type is not None:
            error = span.error_type if span.error_type in _OWN_ERRORS else "upstream_error"
            self._counts["watchkeeper_gateway_errors"][(upstream, error)] += 1
        if span.overhead_ns is not None:
            self._observe("watchkeeper_gateway_overhead_seconds", (upstream,), span.overhead_ns)
        self._called(span)
        usage = span.usage
        if usage.input_tokens is not None:
            self._tokens[(upstream, "input")] += usage.input_tokens
        if usage.output_tokens is not None:
            self._tokens[(upstream, "output")] += usage.output_tokens

    def watch(self, depths: Mapping[str, Callable[[], int]], streams: Callable[[], int] | None = None) -> None:
        """Tell how deep queues are, and how many streams are open, whenever somebody asks."""
        self._depths.update(depths)
        self._streams = streams or self._streams

    def time_policies(self, timings: Mapping[str, Timing]) -> None:
        """Tell how long each policy took, by instance."""
        self._timings = timings

    def _called(self, span: Span) -> None:
        """Observe a call under the conventions' names."""
        if span.end_ns is None:
            return
        model = self._fold(span)
        error = span.error_type
        if error is not None and error not in _OWN_ERRORS:
            error = str(span.http_status) if (span.http_status or 0) >= 400 else "upstream_error"
        provider = span.provider or span.upstream or "none"
        key = (span.operation, provider, model, error)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._series_of(*key)
        series.whole.observe((span.end_ns - span.start_ns) / _BILLION)
        usage = span.usage
        if span.first_token_ns is not None:
            series.first.observe(span.first_token_ns / _BILLION)
            if usage.output_tokens is not None and usage.output_tokens > 1:
                rest_ns = span.end_ns - span.start_ns - span.first_token_ns
                series.each.observe(max(rest_ns, 0) / (usage.output_tokens - 1) / _BILLION)
        if usage.input_tokens is not None:
            series.input.observe(usage.input_tokens)
        if usage.output_tokens is not None:
            series.output.observe(usage.output_tokens)

    def _fold(self, span: Span) -> str:
        name = span.request_model
        if name is None or name in self._models:
            return name or "none"
        if span.status == "ok" and len(self._models) < self._most_models:
            self._models.add(name)
            return name
        return OTHER

    def _series_of(self, operation: str, provider: str, model: str, error: str | None) -> _Series:
        common = (operation, provider, model)
        return _Series(
            self._of("gen_ai_server_request_duration_seconds", (*common, error or "")),
            self._of("gen_ai_server_time_to_first_token_seconds", common),
            self._of("gen_ai_server_time_per_output_token_seconds", common),
            self._of("gen_ai_client_token_usage", (*common, "input")),
            self._of("gen_ai_client_token_usage", (*common, "output")),
        )

    def decided(self, decisions: Iterable[Decision]) -> None:
        """Policies have ruled."""
        for decision in decisions:
            self._decisions[(decision.policy, decision.verdict, decision.mode)] += 1

    def dropped(self, what: str) -> None:
        """A record could not be written."""
        self._counts["watchkeeper_gateway_recorder_drops"][(what,)] += 1

    def unsettled(self) -> None:
        """A call's use is unknown, so its reservation stays charged."""
        self._counts["watchkeeper_gateway_unsettled"][()] += 1

    def fault(self) -> None:
        """Something inside the gateway failed that should not."""
        self._counts["watchkeeper_gateway_faults"][()] += 1

    def collect(self) -> Iterator[Metric]:
        """All measures, as the Prometheus client wants them."""
        for name, (help_text, labels) in _COUNTERS.items():
            counter = CounterMetricFamily(name, help_text, labels=labels)
            for values, count in self._counts[name].items():
                counter.add_metric([str(value) for value in values], count)
            yield counter
        for name, (help_text, labels, _) in _HISTOGRAMS.items():
            family = HistogramMetricFamily(name, help_text, labels=labels)
            for values, histogram in self._histograms[name].items():
                if not any(histogram.counts):
                    continue
                family.add_metric([str(value) for value in values], histogram.buckets(), histogram.total)
            yield family
        for name, text, value in (
            ("watchkeeper_gateway_in_flight", "Requests being answered.", self._in_flight),
            ("watchkeeper_gateway_streams", "Streamed replies that are under way.", self._streams()),
        ):
            gauge = GaugeMetricFamily(name, text)
            gauge.add_metric([], value)
            yield gauge
        depth = GaugeMetricFamily(
            "watchkeeper_gateway_queue_depth", "Work that waits behind replies.", labels=("queue",)
        )
        for queue, of in self._depths.items():
            depth.add_metric([queue], of())
        yield depth
        yield self._policies()

    def render(self) -> bytes:
        """All measures in the Prometheus text format."""
        return generate_latest(self.registry)

    def _policies(self) -> Metric:
        family = HistogramMetricFamily(
            "watchkeeper_policy_duration_seconds",
            "Time of one ruling of a policy, one in eight timed.",
            labels=("policy",),
        )
        for instance, timing in self._timings.items():
            if timing.rulings:
                running, rows = 0, []
                for bound, count in zip([*map(str, BOUNDS_S), "+Inf"], timing.counts, strict=True):
                    running += count
                    rows.append((bound, float(running)))
                family.add_metric([instance], rows, timing.total_s)
        return family

    def _observe(self, name: str, labels: tuple[str, ...], value_ns: int) -> None:
        self._of(name, labels).observe(value_ns / _BILLION)

    def _of(self, name: str, labels: tuple[str, ...]) -> _Histogram:
        histograms = self._histograms[name]
        histogram = histograms.get(labels)
        if histogram is None:
            histogram = histograms[labels] = _Histogram(_HISTOGRAMS[name][2])
        return histogram
