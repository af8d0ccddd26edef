"""Spans over OpenTelemetry: sets up export to a Watchkeeper server, and opens spans in the words of GenAI semconv."""

from __future__ import annotations

import atexit
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from watchkeeper.records.ids import new_span_id, new_trace_id
from watchkeeper.sdk.identity import current
from watchkeeper.sdk.private import Masking

SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"
LONGEST_CONTENT = 8_000_000
_INSTALL = "opentelemetry-sdk is not installed, so no spans are recorded; run: pip install 'watchkeeper[sdk]'"
_log = logging.getLogger("watchkeeper.sdk")


class Exporting:
    """How spans leave this process: the provider that was set up (None: not ours), and what was not delivered."""

    def __init__(
        self, masking: Masking | None = None, lost: Callable[[str, str, int], None] = lambda what, reason, count: None
    ) -> None:
        """`masking` is applied to spans before they leave; `lost` is told what could not be exported."""
        self.masking = masking or Masking()
        self.lost = lost
        self.provider: Any = None
        self.processor: Any = None
        self.counts: Counter[str] = Counter()
        self.problem: str | None = None

    def start(self, url: str, key: str | None, service: str | None, add_to_existing: bool) -> None:
        """Set up a tracer provider; one that the program set itself is only added to when asked."""
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            self.problem = _INSTALL
            _log.warning("watchkeeper: %s", _INSTALL)
            return
        existing: Any = trace.get_tracer_provider()
        taken = isinstance(existing, TracerProvider)
        if taken and not add_to_existing:
            _log.info("watchkeeper: the program has its own tracer provider; its exporters are left as they are")
            return
        headers = {"x-watchkeeper-key": key} if key else {}
        exporter = OTLPSpanExporter(endpoint=f"{url.rstrip('/')}/v1/traces", headers=headers)
        self.processor = BatchSpanProcessor(_counting(exporter, self))
        if taken:
            provider = existing
        else:
            attributes = {"service.name": service} if service else {}
            provider = TracerProvider(resource=Resource.create(attributes))
            trace.set_tracer_provider(provider)
            atexit.register(provider.shutdown)
        provider.add_span_processor(_naming(self.counts))
        provider.add_span_processor(self.processor)
        self.provider = provider

    def flush(self, timeout_s: float) -> bool:
        """Export what waits; False when that failed or took too long, or spans were dropped for want of room."""
        if self.processor is None:
            return True
        before, ended = self.counts["failed"], self.counts["ended"]
        done = bool(self.processor.force_flush(int(timeout_s * 1000)))
        if done:
            self._note_overflow(ended)
        return done and self.counts["failed"] == before

    def _note_overflow(self, ended: int) -> None:
        """OpenTelemetry only logs that its queue was full: of what had ended, all that was not exported went there."""
        missing = ended - self.counts["sent"] - self.counts["failed"]
        if missing > 0:
            self.counts["failed"] += missing
            self.problem = f"{missing} spans were dropped: more ended at once than OpenTelemetry's queue holds"
            self.lost("span", "sdk_queue_full", missing)


def _counting(exporter: Any, into: Exporting) -> Any:
    """The exporter, with its failures counted: OpenTelemetry itself only logs them."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class CountingExporter(SpanExporter):
        """Passes spans on and counts what became of them."""

        def export(self, spans: Any) -> Any:
            """Export a batch."""
            if into.masking.active:
                spans = [into.masking.span(each) for each in spans]
            result = exporter.export(spans)
            into.counts["sent" if result is SpanExportResult.SUCCESS else "failed"] += len(spans)
            if result is not SpanExportResult.SUCCESS:
                into.lost("span", "sdk_not_exported", len(spans))
                into.problem = f"{len(spans)} spans could not be exported; the log of opentelemetry says why"
            return result

        def shutdown(self) -> None:
            """Close the exporter."""
            exporter.shutdown()

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            """Flush the exporter."""
            return bool(exporter.force_flush(timeout_millis))

    return CountingExporter()


def _naming(counts: Counter[str]) -> Any:
    """A processor that names whom a span belongs to when it starts, and counts those that end."""
    from opentelemetry.sdk.trace import SpanProcessor

    class NamingProcessor(SpanProcessor):
        """Names whom a span belongs to."""

        def on_start(self, span: Any, parent_context: Any = None) -> None:
            """Write what is known and not there yet."""
            for name, value in current().items():
                span.set_attribute(f"watchkeeper.{name}", value)

        def on_end(self, span: Any) -> None:
            """Count what is to be exported."""
            counts["ended"] += span.context.trace_flags.sampled

    return NamingProcessor()


class Handle:
    """A span that is open: its ids, for scores and feedback, and a way to say more about it.

    `trace_id` and `span_id` are hex; they are made here when no tracer provider records, so that a score still has a
    subject.
    """

    def __init__(self, span: Any) -> None:
        self._span = span
        context = span.get_span_context()
        self.recorded = bool(context.is_valid)
        self.trace_id = f"{context.trace_id:032x}" if self.recorded else new_trace_id()
        self.span_id = f"{context.span_id:016x}" if self.recorded else new_span_id()

    def set(self, name: str, value: Any) -> None:
        """Set an attribute; what is no scalar or list of them is kept as JSON text."""
        if not isinstance(value, str | int | float | bool):
            value = content_of(value)
        self._span.set_attribute(name, value)

    def fail(self, error: BaseException) -> None:
        """Mark the span as failed."""
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute("error.type", type(error).__qualname__)
        if isinstance(error, Exception):
            self._span.record_exception(error)
        self._span.set_status(Status(StatusCode.ERROR, str(error)[:500]))

    def end(self) -> None:
        """Close the span."""
        self._span.end()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Within this block the span is the parent of new ones."""
        from opentelemetry import trace

        with trace.use_span(self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            yield


def open_span(name: str, attributes: dict[str, Any]) -> Handle:
    """Start an internal span below the current one."""
    from opentelemetry import trace

    tracer = trace.get_tracer("watchkeeper", schema_url=SCHEMA_URL)
    return Handle(tracer.start_span(name, attributes=attributes))


def current_span() -> tuple[str, str] | None:
    """Trace and span id of the span at hand, or None."""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    return (f"{context.trace_id:032x}", f"{context.span_id:016x}") if context.is_valid else None


def traceparent() -> str | None:
    """The W3C header's value of the span at hand, or None."""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def content_of(value: Any) -> str:
    """A value as JSON text for an attribute, at most 100,000 characters; what JSON cannot say is named by its type."""
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_type_name)
    except (TypeError, ValueError, RecursionError):
        text = _type_name(value)
    return text[:LONGEST_CONTENT]


def _type_name(value: Any) -> str:
    return f"<{type(value).__qualname__}>"
