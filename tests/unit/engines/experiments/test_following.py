"""A sunset that harms is stopped, one that does not goes on, and equal versions are stopped at most as stated."""

from collections.abc import Sequence
from random import Random

import pytest

from tests.sunsetting import MOVE_NS, START_NS, World
from watchkeeper.engines.experiments.exposure import DAY_NS, Use
from watchkeeper.engines.experiments.following import Standing, follow
from watchkeeper.engines.experiments.sunset import Plan, Wanted, sunset

WANTED = Wanted(old="old", new="new", since_ns=START_NS, until_ns=MOVE_NS, drop=0.2)
MANY = {"light": 120, "regular": 70, "deep": 60}


def planned(world: World, wanted: Wanted = WANTED) -> Plan:
    return sunset(wanted, world.before, world.judged())


def seen(world: World, began: Sequence[int] = (1, 2, 3, 4), wanted: Wanted = WANTED) -> dict[tuple[str, str], Standing]:
    found = follow(planned(world, wanted), world.old, world.new, world.judged(), dict.fromkeys(began, MOVE_NS))
    return {(each.kind, each.cohort): each for each in found}


def test_harm_to_the_deep_users_stops_their_stage_alone() -> None:
    found = seen(World(Random(1), MANY, harm={"deep": 0.4}))
    deep = found["default", "deep"]
    assert deep.state == "stop" and deep.change is not None and deep.change.high < 0
    assert deep.change.n <= deep.judged and "route the cohort to" in deep.sentence
    assert found["default", "light"].state != "stop"
    assert found["forced", "deep"].state == "not begun"


def test_no_harm_goes_on_and_is_told_with_its_interval() -> None:
    found = seen(World(Random(2), {"light": 400, "regular": 100, "deep": 60}))
    light = found["default", "light"]
    assert light.state == "proceed" and light.change is not None and light.change.low > -0.2
    assert "ruled out" in light.sentence


def test_few_users_resolve_nothing_and_the_number_needed_is_told() -> None:
    found = seen(World(Random(3), {"light": 12, "regular": 5, "deep": 3}))
    assert {each.state for each in found.values()} <= {"not resolved yet", "not begun"}
    assert "it takes about" in found["default", "light"].sentence


def test_equal_versions_are_stopped_at_most_at_the_stated_rate_however_often_one_looks() -> None:
    rng, stopped, runs = Random(4), 0, 80
    for _ in range(runs):
        found = seen(World(rng, {"light": 60, "regular": 30, "deep": 20}))
        stopped += any(each.state == "stop" for each in found.values())
    assert stopped / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_a_fall_that_matters_is_let_pass_at_most_at_the_stated_rate() -> None:
    rng, passed, runs = Random(5), 0, 80
    for _ in range(runs):
        found = seen(World(rng, {"light": 120}, harm={"light": 0.2}), began=(1, 2))
        passed += any(each.state == "proceed" for each in found.values())
    assert passed / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_the_planned_number_of_users_shows_the_fall_and_its_absence_about_as_often_as_planned() -> None:
    rng, stopped, went_on, runs = Random(6), 0, 0, 40
    plan = planned(World(rng, {"light": 500}))
    (light,) = (each for each in plan.cohorts if each.name == "light")
    assert light.users_to_stop is not None and light.users_to_proceed is not None
    for _ in range(runs):
        harmed = World(rng, {"light": light.users_to_stop}, harm={"light": 0.2})
        stopped += seen(harmed, began=(1, 2))["default", "light"].state == "stop"
        spared = World(rng, {"light": light.users_to_proceed})
        went_on += seen(spared, began=(1, 2))["default", "light"].state == "proceed"
    assert min(stopped, went_on) / runs >= 0.8 - 3 * (0.8 * 0.2 / runs) ** 0.5


def test_whoever_goes_back_stays_in_the_count() -> None:
    world = World(Random(7), {"light": 40}, after=1)
    for number in range(40):
        for k in range(2):
            at = MOVE_NS + (3 + k) * DAY_NS
            world._use(Random(number), world.old, f"light-{number}", at, 0.8)
    found = seen(world, began=(1, 2))["default", "light"]
    assert (found.moved, found.judged, found.waiting) == (40, 40, 0)
    assert found.went_back is not None and found.went_back.value == 1.0


def test_those_who_have_not_moved_are_told_beside_so_that_a_fall_for_all_is_seen() -> None:
    world = World(Random(8), {"light": 300}, drift=0.4, moves=0.5)
    found = seen(world, began=(1, 2))["default", "light"]
    assert found.state == "stop"
    assert found.held is not None and found.held.high < -0.2


def test_a_user_counts_for_the_last_stage_that_had_begun() -> None:
    world = World(Random(9), {"light": 30, "deep": 5})
    found = follow(planned(world), world.old, world.new, world.judged(), {2: MOVE_NS + DAY_NS // 2, 3: MOVE_NS})
    moved = {each.number: each.moved for each in found}
    assert 0 < moved[1] < 30 and moved[1] + moved[2] == 30 and moved[3] == 5


def test_users_who_never_used_the_old_version_are_in_no_cohort() -> None:
    world = World(Random(10), {"light": 10})
    world.new.append(Use(user="stranger", use="x", first_ns=MOVE_NS, last_ns=MOVE_NS, calls=1))
    assert seen(world, began=(1, 2))["default", "light"].moved == 10


def test_a_stage_that_is_not_in_the_plan_is_refused() -> None:
    with pytest.raises(ValueError, match="no stage 9"):
        seen(World(Random(11), {"light": 5}), began=(9,))
