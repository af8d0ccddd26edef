"""Hints of providers are followed where they make sense, and backoff is jittered and never nothing."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.engines.gateway.retrying import Hint, RetryShare, hint_of, kind_of, may_repeat, wait_before
from watchkeeper.engines.gateway.route_spec import RouteSpec, TargetSpec

NOW = 1_800_000_000.0
ROUTE = RouteSpec(name="r", targets=(TargetSpec(upstream="u"),), first_wait_s=0.5, longest_wait_s=20)


@pytest.mark.parametrize(
    ("headers", "hint"),
    [
        ([], Hint()),
        ([(b"retry-after", b"7")], Hint(7.0)),
        ([(b"retry-after-ms", b"250"), (b"retry-after", b"9")], Hint(0.25)),
        ([(b"retry-after-ms", b"x"), (b"retry-after", b"9")], Hint(9.0, None, True)),
        ([(b"retry-after", b"Fri, 15 Jan 2027 08:00:10 GMT")], Hint(10.0)),
        ([(b"retry-after", b"Fri, 15 Jan 2027 07:00:00 GMT")], Hint(0.0)),
        ([(b"retry-after", b"Mon, 01 Jan 2300 00:00:00 GMT")], Hint(None, None, True)),
        ([(b"x-should-retry", b"true")], Hint(None, True)),
        ([(b"x-should-retry", b"False ")], Hint(None, False)),
        ([(b"x-should-retry", b"maybe")], Hint(None, None, True)),
        ([(b"retry-after", b"-1")], Hint(None, None, True)),
        ([(b"retry-after", b"nan")], Hint(None, None, True)),
        ([(b"retry-after", b"1000000000")], Hint(None, None, True)),
        ([(b"retry-after", b"86400")], Hint(86400.0)),
        ([(b"retry-after", b"86400.1")], Hint(None, None, True)),
        ([(b"retry-after", b"")], Hint(None, None, True)),
    ],
)
def test_each_hint_is_read_so(headers: list[tuple[bytes, bytes]], hint: Hint) -> None:
    assert hint_of(headers, NOW) == hint


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_no_header_can_make_a_hint_that_is_not_sane(after: bytes, should: bytes) -> None:
    hint = hint_of([(b"retry-after", after), (b"retry-after-ms", after), (b"x-should-retry", should)], NOW)
    assert hint.wait_s is None or (math.isfinite(hint.wait_s) and 0 <= hint.wait_s <= 86_400)


@given(st.integers(0, 60), st.integers(0, 2**32), st.none() | st.floats(0, 86_400))
def test_a_wait_is_never_nothing_nor_longer_than_the_longest(tried: int, seed: int, hint_s: float | None) -> None:
    wait_s = wait_before(ROUTE, tried, Hint(hint_s), Random(seed))
    if hint_s is not None and hint_s > ROUTE.longest_wait_s:
        assert wait_s is None
    else:
        assert wait_s is not None and 0.02 <= wait_s <= ROUTE.longest_wait_s * 1.1
        assert hint_s is None or wait_s >= hint_s


def test_waits_double_and_are_spread() -> None:
    def waits(tried: int) -> list[float]:
        return [wait_before(ROUTE, tried, Hint(), Random(seed)) or 0 for seed in range(200)]

    assert 0.25 <= min(waits(0)) < 0.3 and 0.45 < max(waits(0)) <= 0.5
    assert min(waits(2)) >= 1.0 and max(waits(2)) <= 2.0
    assert max(waits(30)) <= 20


def test_a_share_of_calls_may_be_retried_and_ten_are_free() -> None:
    share, taken = RetryShare(), 0
    for _ in range(1000):
        share.called(0.2)
        taken += share.take()
    assert 200 <= taken <= 211


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "unsent"),
        (429, "unsent"),
        (503, "unsent"),
        (529, "unsent"),
        (500, "failed"),
        (502, "failed"),
        (504, "failed"),
    ],
)
def test_what_a_status_says_of_the_work(status: int, kind: str) -> None:
    assert kind_of(status) == kind


@pytest.mark.parametrize(
    ("repeat", "allowed"),
    [("unsent", {"unsent"}), ("failed", {"unsent", "failed"}), ("any", {"unsent", "failed", "broken"})],
)
def test_a_route_says_what_may_be_repeated(repeat: str, allowed: set[str]) -> None:
    route = RouteSpec(name="r", targets=(TargetSpec(upstream="u"),), repeat=repeat)  # type: ignore[arg-type]
    assert {kind for kind in ("unsent", "failed", "broken") if may_repeat(route, kind)} == allowed  # type: ignore[arg-type]
