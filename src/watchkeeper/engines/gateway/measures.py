"""What the gateway measures of itself, for Prometheus: few labels, base units, no person's name and no prompt."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from watchkeeper.records.decision import Decision
from watchkeeper.records.span import Span

_OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0)
_OPERATION_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
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
    "gen_ai_client_operation_duration_seconds": (
        "Whole time of a call, waiting for the upstream included.",
        ("gen_ai_operation_name", "upstream"),
        _OPERATION_S,
    ),
    "gen_ai_client_operation_time_to_first_chunk_seconds": (
        "Time from a streamed call's start to its first token.",
        ("upstream",),
        _OPERATION_S,
    ),
}


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


class Measures:
    """Counters and histograms, kept as plain numbers in the call path and put into words when they are asked for.

    The model is no label: a caller can name any, and each would be kept for ever. Upstreams and policies are the
    owner's. `registry` is a registry of their own, in which others may stand too.
    """

    def __init__(self) -> None:
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
        if span.end_ns is not None:
            labels = (span.operation, upstream)
            self._observe("gen_ai_client_operation_duration_seconds", labels, span.end_ns - span.start_ns)
        if span.first_token_ns is not None:
            self._observe("gen_ai_client_operation_time_to_first_chunk_seconds", (upstream,), span.first_token_ns)
        usage = span.usage
        if usage.input_tokens is not None:
            self._tokens[(upstream, "input")] += usage.input_tokens
        if usage.output_tokens is not None:
            self._tokens[(upstream, "output")] += usage.output_tokens

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
                family.add_metric([str(value) for value in values], histogram.buckets(), histogram.total)
            yield family
        gauge = GaugeMetricFamily("watchkeeper_gateway_in_flight", "Requests being answered.")
        gauge.add_metric([], self._in_flight)
        yield gauge

    def render(self) -> bytes:
        """All measures in the Prometheus text format."""
        return generate_latest(self.registry)

    def _observe(self, name: str, labels: tuple[str, ...], value_ns: int) -> None:
        histograms = self._histograms[name]
        histogram = histograms.get(labels)
        if histogram is None:
            histogram = histograms[labels] = _Histogram(_HISTOGRAMS[name][2])
        histogram.observe(value_ns / _BILLION)
