"""A program tells of its own rescues, on the span at hand."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import use_span

import watchkeeper


def test_rescues_are_events_and_counts_of_the_span() -> None:
    span = TracerProvider().get_tracer("t").start_span("answer")
    with use_span(span):
        assert watchkeeper.rescue("repair", "a bracket was missing", chars=1)
        assert watchkeeper.rescue("repair")
        assert watchkeeper.rescue("default", field="currency")
    attributes = dict(getattr(span, "attributes", {}))
    assert attributes == {"watchkeeper.rescues": 3, "watchkeeper.rescues.repair": 2, "watchkeeper.rescues.default": 1}
    events = [dict(event.attributes) for event in getattr(span, "events", ())]
    assert events[0] == {"kind": "repair", "reason": "a bracket was missing", "chars": 1}


def test_without_a_span_nothing_is_noted_and_nothing_breaks() -> None:
    assert watchkeeper.rescue("retry") is False


def test_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of default, fallback, repair, retry"):
        watchkeeper.rescue("miracle")  # type: ignore[arg-type]
