"""Rescues are counted by kind, noted on the span, and told in a header that nothing can break."""

from __future__ import annotations

from typing import Any

import pytest

from watchkeeper.engines.gateway.rescues import HEADER, Rescue, Rescues, client_retries
from watchkeeper.queries.rescues import KINDS


def made() -> tuple[Rescues, list[tuple[str, Any]], dict[str, Any]]:
    notes: list[tuple[str, Any]] = []
    attributes: dict[str, Any] = {}
    return Rescues(lambda name, details: notes.append((name, details)), attributes), notes, attributes


def test_without_a_rescue_there_is_no_header_and_no_attribute() -> None:
    rescues, notes, attributes = made()
    assert (rescues.headers(), notes, attributes) == ([], [], {})


def test_rescues_are_counted_noted_and_told() -> None:
    rescues, notes, attributes = made()
    rescues.add(Rescue.RETRY, reason="503", wait_s=0.5)
    rescues.add(Rescue.RETRY, reason="429", wait_s=1.5)
    rescues.add(Rescue.FALLBACK, to="spare", model=None, reason="503")
    assert rescues.headers() == [(HEADER, b"retry;n=2;reason=429, fallback;n=1;to=spare;reason=503")]
    assert attributes == {"watchkeeper.rescues": 3, "watchkeeper.rescues.retry": 2, "watchkeeper.rescues.fallback": 1}
    assert notes[2] == ("watchkeeper.rescue", {"kind": "fallback", "to": "spare", "reason": "503"})


def test_no_name_can_break_the_header() -> None:
    rescues, _, _ = made()
    rescues.add(Rescue.FALLBACK, to="sp\u00e4re, x;\r\nset-cookie: a=b", reason="r" * 500)
    ((_, value),) = rescues.headers()
    assert b"\r" not in value and b"\n" not in value and b" x;" not in value and len(value) < 200


@pytest.mark.parametrize(("said", "count"), [(b"2", 2), (b"0", 0), (b"", 0), (b"-1", 0), (b"x", 0), (b"99999", 0)])
def test_a_client_tells_its_own_retries(said: bytes, count: int) -> None:
    assert client_retries({b"x-stainless-retry-count": said}) == count


def test_the_question_knows_every_kind() -> None:
    assert set(KINDS) == {kind.value for kind in Rescue}
