"""What all attempts used is added up; an unknown part is settled at its bound, and never above the reserve."""

from __future__ import annotations

import pytest

from tests.unit.engines.gateway.stage import FlatPricer
from watchkeeper.engines.gateway.attempted import Spending
from watchkeeper.records.event import Bound
from watchkeeper.records.span import Cost, Usage

LAST, PRICE = Usage(input_tokens=10, output_tokens=5, parts={"web_searches": 1}), Cost(usd=15e-6, source="table")
ONE = Bound(input_tokens=100, output_tokens=50, nano_usd=150_000, price_source="table")
TWICE = Bound(input_tokens=200, output_tokens=100, nano_usd=300_000, price_source="table")


def spending() -> Spending:
    return Spending(FlatPricer(), 0)


def test_one_attempt_is_what_it_is() -> None:
    made = spending()
    assert made.total(LAST, PRICE) == (LAST, PRICE) and made.charged(LAST, PRICE, TWICE, ONE) == (LAST, PRICE)
    assert not made.anything


def test_known_attempts_are_added_field_by_field() -> None:
    made = spending()
    made.known(Usage(input_tokens=20, output_tokens=1, reasoning_tokens=3, parts={"web_searches": 2}), "m", None)
    usage, cost = made.total(LAST, PRICE)
    assert usage == Usage(input_tokens=30, output_tokens=6, reasoning_tokens=3, parts={"web_searches": 3})
    assert cost is not None and cost.usd == pytest.approx(36e-6)


def test_a_known_attempt_without_a_price_leaves_the_cost_unknown() -> None:
    made = spending()
    made.known(Usage(input_tokens=20, output_tokens=1), "free-m", None)
    assert made.total(LAST, PRICE)[1] is None


def test_when_only_the_failed_attempt_told_its_use_that_is_the_use() -> None:
    made = spending()
    made.known(Usage(input_tokens=20, output_tokens=1), "m", None)
    usage, cost = made.total(Usage(), None)
    assert usage.input_tokens == 20 and cost is not None


def test_an_unknown_attempt_is_settled_at_the_bound_of_one() -> None:
    made = spending()
    made.unknown()
    usage, cost = made.charged(LAST, PRICE, TWICE, ONE)
    assert (usage.input_tokens, usage.output_tokens) == (110, 55)
    assert cost is not None and cost.usd == pytest.approx(165e-6)


def test_never_more_than_was_reserved_and_never_less_than_is_known() -> None:
    made = spending()
    for _ in range(5):
        made.unknown()
    usage, cost = made.charged(LAST, PRICE, TWICE, ONE)
    assert usage.output_tokens == 100 and cost is not None and cost.usd == pytest.approx(300e-6)
    dear = Cost(usd=1.0, source="table")
    assert made.charged(LAST, dear, TWICE, ONE)[1] == dear


def test_an_unknown_last_attempt_stays_unknown() -> None:
    made = spending()
    made.unknown()
    assert made.charged(Usage(), None, TWICE, ONE) == (Usage(), None)
