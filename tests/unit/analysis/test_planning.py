"""Plans agree with the formulas they stand on, whichever way round they are asked."""

from __future__ import annotations

import re
from random import Random
from typing import Any

import pytest

from watchkeeper.analysis.paired import compare
from watchkeeper.analysis.planning import design_effect, plan


@pytest.mark.parametrize(
    ("asked", "n"),
    [
        ({"kind": "independent", "effect": 0.03, "baseline": 0.82}, 2402),
        ({"kind": "paired", "effect": 0.03, "discordance": 0.10}, 870),
        ({"kind": "paired", "effect": 0.03, "discordance": 0.15}, 1306),
        ({"kind": "graded", "effect": 0.5, "sd": 1.0}, 34),
    ],
)
def test_an_effect_takes_the_items_of_its_formula(asked: dict[str, Any], n: int) -> None:
    assert plan(**asked).n == n


@pytest.mark.parametrize("kind", ["independent", "paired", "graded"])
def test_so_many_items_show_the_effect_that_takes_them(kind: Any) -> None:
    rates = {"baseline": 0.5, "discordance": 0.2, "sd": 0.8}
    n = plan(kind, effect=0.05, **rates).n
    assert plan(kind, n=n, **rates).effect == pytest.approx(0.05, rel=0.01)


def test_clusters_take_more_items() -> None:
    inflation = design_effect(5, 0.25)
    assert inflation == 2
    alone = plan("paired", effect=0.03, discordance=0.1).n
    assert plan("paired", effect=0.03, discordance=0.1, inflation=inflation).n == 2 * alone


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"kind": "paired", "effect": 0.1}, "--discordance"),
        ({"kind": "graded", "sd": 1.0}, "not both"),
        ({"kind": "graded", "sd": 1.0, "effect": 0.1, "n": 5}, "not both"),
        ({"kind": "independent", "effect": 0.3, "baseline": 0.9}, "outside 0 to 1"),
    ],
)
def test_a_plan_that_cannot_be_is_told(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        plan(**asked)


@pytest.mark.parametrize(("size", "icc"), [(0.5, 0.1), (3, 1.5), (3, -0.1)])
def test_clusters_that_cannot_be_are_refused(size: float, icc: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        design_effect(size, icc)


@pytest.mark.parametrize(
    ("asked", "n"),
    [
        ({"kind": "independent", "effect": 0.05, "baseline": 0.9, "goal": "non-inferiority"}, 446),
        ({"kind": "independent", "effect": 0.05, "baseline": 0.9, "goal": "equivalence"}, 617),
        ({"kind": "independent", "effect": 0.05, "baseline": 0.98, "goal": "non-inferiority"}, 97),
        ({"kind": "paired", "effect": 0.1, "discordance": 0.05, "goal": "non-inferiority"}, 56),
        ({"kind": "paired", "effect": 0.03, "discordance": 0.1, "goal": "equivalence"}, 987),
        ({"kind": "graded", "effect": 0.6, "sd": 0.4}, 7),
        ({"kind": "graded", "effect": 2.0, "sd": 0.4}, 6),
    ],
)
def test_margins_and_few_items_have_plans_of_their_own(asked: dict[str, Any], n: int) -> None:
    assert plan(**asked).n == n
    if asked.get("goal"):
        back = plan(**{**asked, "effect": None, "n": n})
        assert back.effect == pytest.approx(asked["effect"], rel=0.02)


@pytest.mark.parametrize("goal", ["non-inferiority", "equivalence"])
@pytest.mark.parametrize(("margin", "discordance"), [(0.05, 0.1), (0.1, 0.2), (0.1, 0.05)])
def test_a_planned_margin_is_shown_as_often_as_planned(goal: Any, margin: float, discordance: float) -> None:
    n = plan("paired", effect=margin, discordance=discordance, goal=goal).n
    rng, shown, trials = Random(n), 0, 400
    wanted = ("equivalent",) if goal == "equivalence" else ("equivalent", "better", "non-inferior")
    for _ in range(trials):
        moved = [rng.random() for _ in range(n)]
        a = {str(i): float(x < discordance / 2) for i, x in enumerate(moved)}
        b = {str(i): float(discordance / 2 <= x < discordance) for i, x in enumerate(moved)}
        shown += compare(a, b, margin=margin).verdict in wanted
    assert shown / trials > 0.8 - 3 * (0.8 * 0.2 / trials) ** 0.5


def test_the_exact_test_takes_a_few_items_more() -> None:
    found = plan("paired", effect=0.1, discordance=0.2)
    assert found.n == 155
    assert found.power_of_exact_test == pytest.approx(0.762, abs=0.001)
    assert found.n_for_exact_test is not None
    assert found.n < found.n_for_exact_test < 180
    assert plan("paired", effect=0.1, discordance=0.2, inflation=2).power_of_exact_test is None
    assert plan("graded", effect=0.1, sd=0.2).n_for_exact_test is None


def test_fewer_than_six_differences_show_nothing() -> None:
    assert plan("graded", n=5, sd=0.3).effect is None
    assert plan("graded", n=6, sd=0.3).effect == pytest.approx(0.538, abs=0.001)


def test_a_plan_has_no_side() -> None:
    assert plan("graded", effect=-0.1, sd=0.5).n == plan("graded", effect=0.1, sd=0.5).n
    assert plan("paired", effect=-0.03, discordance=0.1).n == 870
    falling = plan("independent", n=100, baseline=1.0).effect
    assert falling is not None
    assert falling == pytest.approx(-(plan("independent", n=100, baseline=0.0).effect or 0))
    with pytest.raises(ValueError, match="82 percent"):
        plan("paired", effect=0.05, discordance=10)


@pytest.mark.parametrize(("size", "says"), [(20.0, "no comparison"), (4.0, "with so few take"), (1.0, None)])
def test_few_clusters_are_told(size: float, says: str | None) -> None:
    notes = plan("graded", effect=0.15, sd=0.4, inflation=design_effect(size, 0.01), cluster_size=size).notes
    assert (notes == ()) if says is None else re.search(says, notes[0])
    assert plan("graded", effect=0.02, sd=0.4, inflation=1.3, cluster_size=4).notes == ()
