"""Plans: where a call may go, in which order, and what all of it may cost."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from tests.unit.engines.gateway.stage import spec
from watchkeeper.engines.gateway.route_spec import RouteSpec, TargetSpec
from watchkeeper.engines.gateway.routes import Route
from watchkeeper.engines.gateway.routing import Routing
from watchkeeper.engines.gateway.settings import SettingsError
from watchkeeper.records.event import Bound
from watchkeeper.records.identity import Identity

SPECS = tuple(
    spec("http://127.0.0.1:1/v1", name=name, aliases={"nick": "long-name"} if name == "a" else {}) for name in "abc"
)
PRICES = {"a": 10, "b": 30, "c": 20}


def routing(**route: object) -> Routing:
    targets = tuple(TargetSpec(upstream=name, weight=weight) for name, weight in (("a", 1), ("b", 2), ("c", 1)))
    return Routing(SPECS, (RouteSpec(name="r", targets=targets, **route),), Random(1))  # type: ignore[arg-type]


def names(made: Routing, **who: str) -> list[str]:
    return [target.spec.name for target in made.plan("r", Identity(**who)).targets]


def one(route: Route) -> Bound:
    return Bound(input_tokens=100, output_tokens=50, nano_usd=PRICES[route.spec.name], price_source=route.spec.name)


def test_a_name_without_a_route_has_one_target_and_no_rescues() -> None:
    plan = routing().plan("other", Identity())
    assert len(plan.targets) == 1 and not plan.rescuable


def test_an_ordered_route_keeps_its_order() -> None:
    assert names(routing()) == ["a", "b", "c"]


def test_a_weighted_route_shares_by_weight() -> None:
    made = routing(strategy="weighted")
    firsts = Counter(names(made)[0] for _ in range(2000))
    assert firsts["b"] / 2000 == pytest.approx(0.5, abs=0.05)


def test_a_sticky_route_keeps_a_session_and_tells_tenants_apart() -> None:
    made = routing(strategy="weighted", sticky="session")
    for number in range(30):
        session = f"s{number}"
        assert len({tuple(names(made, session=session)) for _ in range(20)}) == 1
    apart = [names(made, session=f"s{n}", tenant="x") != names(made, session=f"s{n}", tenant="y") for n in range(50)]
    assert any(apart)


def test_without_a_session_a_sticky_route_still_shares() -> None:
    made = routing(strategy="weighted", sticky="session")
    assert len({names(made)[0] for _ in range(100)}) == 3


def test_an_alias_of_the_upstream_is_followed() -> None:
    made = Routing(SPECS, (RouteSpec(name="r", targets=(TargetSpec(upstream="a", model="nick"),)),))
    assert made.plan("r", Identity()).first.model == "long-name"


def test_the_dearest_target_bounds_a_call() -> None:
    bound = routing().plan("r", Identity()).bound(one)
    assert bound == Bound(input_tokens=100, output_tokens=50, nano_usd=30, price_source="b")


def test_a_target_that_cannot_be_bounded_leaves_the_call_without_a_bound() -> None:
    assert routing().plan("r", Identity()).bound(lambda to: None if to.spec.name == "c" else one(to)) is None


def test_a_target_without_a_price_leaves_the_bound_without_one() -> None:
    bound = (
        routing()
        .plan("r", Identity())
        .bound(lambda to: Bound(input_tokens=1, output_tokens=1) if to.spec.name == "c" else one(to))
    )
    assert bound is not None and bound.nano_usd is None


def test_where_charged_attempts_are_repeated_each_is_reserved_for() -> None:
    bound = routing(repeat="any", rescues=3).plan("r", Identity()).bound(one)
    assert bound is not None and (bound.output_tokens, bound.nano_usd) == (200, 120)


def test_a_continued_stream_is_reserved_for_with_what_was_said_as_input() -> None:
    bound = routing(on_broken_stream="continue").plan("r", Identity()).bound(one)
    assert bound is not None and (bound.output_tokens, bound.nano_usd) == (100, 90)
    assert bound.input_tokens > 250


@pytest.mark.parametrize(
    ("routes", "says"),
    [
        ((RouteSpec(name="r", targets=(TargetSpec(upstream="z"),)),), "'z', which is not one. There are: a, b, c"),
        ((RouteSpec(name="r", targets=(TargetSpec(upstream="a"),)),) * 2, "Two routes are named 'r'"),
    ],
)
def test_routes_that_cannot_be_are_refused(routes: tuple[RouteSpec, ...], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Routing(SPECS, routes)


def test_declared_names_hold_each_route_once() -> None:
    made = Routing(SPECS, (RouteSpec(name="nick", targets=(TargetSpec(upstream="b"),)),))
    assert made.declared() == [("nick", "b")]
