"""Masking in the program itself: by detectors, by a function of its own, and never a text where that fails."""

from __future__ import annotations

import pytest

from watchkeeper.sdk.private import FAILED, Masking


def test_detectors_mask_every_text_and_leave_ids_alone() -> None:
    masking = Masking(("emails", "secret_keys"))
    said = masking.value({"id": "bob@example.org", "note": ["to bob@example.org", 5, {"a": "b@c.example"}], "at": 1})
    assert said == {"id": "bob@example.org", "note": ["to [email]", 5, {"a": "[email]"}], "at": 1}
    assert masking.counts["masked"] == 2


def test_a_function_of_the_program_that_fails_lets_nothing_out() -> None:
    def breaks(text: str) -> str:
        raise RuntimeError(text)

    masking = Masking(breaks)
    assert masking.text("secret") == FAILED and masking.counts["failed"] == 1
    assert Masking(str.upper).text("a") == "A"


def test_nothing_asked_for_is_nothing_done_and_a_wrong_name_is_an_error() -> None:
    assert not Masking().active
    with pytest.raises(ValueError, match="there are secret_keys"):
        Masking(("names",))


def test_a_span_keeps_its_ids_and_times() -> None:
    from opentelemetry.sdk.trace import TracerProvider

    span = TracerProvider().get_tracer("t").start_span("mail bob@example.org", attributes={"a": "b@c.example", "n": 1})
    span.add_event("saw b@c.example", {"x": "b@c.example"})
    span.end()
    said = Masking(("emails",)).span(span)
    assert (said.name, dict(said.attributes), said.events[0].name) == (
        "mail [email]",
        {"a": "[email]", "n": 1},
        "saw [email]",
    )
    assert (said.context, said.start_time, said.end_time) == (span.context, span.start_time, span.end_time)
