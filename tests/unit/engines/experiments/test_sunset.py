"""A sunset goes from opting in to the deepest users, with numbers from what is recorded of each cohort."""

from random import Random

import pytest

from tests.sunsetting import MOVE_NS, START_NS, World
from watchkeeper.engines.experiments.sunset import Composition, Wanted, change_law, stage_alpha, sunset

WANTED = Wanted(old="model:old", new="model:new", since_ns=START_NS, until_ns=MOVE_NS)


def test_stages_go_from_opting_in_over_a_default_to_a_forced_move() -> None:
    world = World(Random(1), {"light": 60, "regular": 30, "deep": 12})
    plan = sunset(WANTED, world.before, world.judged(), [Composition(manifest="abc", calls=9)])
    assert [(each.kind, each.cohort) for each in plan.stages] == [
        ("opt-in", "all"), ("default", "light"), ("default", "regular"), ("default", "deep"),
        ("forced", "light"), ("forced", "regular"), ("forced", "deep"),
    ]  # fmt: skip
    assert [each.users for each in plan.cohorts] == [60, 30, 12, 102]
    assert all("composition abc" in each.revert for each in plan.stages)
    assert stage_alpha(plan) == pytest.approx(0.05 / 7)


def test_the_numbers_come_from_the_recorded_signal() -> None:
    world = World(Random(2), {"light": 300, "regular": 100, "deep": 50})
    plan = sunset(WANTED, world.before, world.judged())
    light = plan.cohorts[0]
    assert light.rate is not None and light.rate.low < 0.8 < light.rate.high
    assert light.window == 3 and light.median_days == 3.0
    assert light.users_to_stop is not None and 150 < light.users_to_stop < 500
    unknown = sunset(WANTED, world.before).cohorts[0]
    assert unknown.rate is None and unknown.window == 1 and (unknown.users_to_stop or 0) > light.users_to_stop


def test_a_cohort_that_is_too_small_is_said_to_be() -> None:
    world = World(Random(3), {"light": 300, "deep": 20})
    told = {(each.kind, each.cohort): each.can_tell for each in sunset(WANTED, world.before, world.judged()).stages}
    assert told["opt-in", "all"] and not told["default", "deep"]


def test_a_drop_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="drop"):
        sunset(Wanted(old="a", new="b", since_ns=0, until_ns=1, baseline=0.1, drop=0.5), [])


def test_without_users_there_are_no_stages() -> None:
    assert sunset(WANTED, []).stages == ()


def test_a_law_of_changes_adds_up_to_one_and_has_its_mean() -> None:
    law = change_law(0.8, 0.7, 3)
    assert sum(law.values()) == pytest.approx(1.0)
    assert sum(value * chance for value, chance in law.items()) == pytest.approx(-0.1)
