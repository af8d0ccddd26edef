"""Plans agree with the formulas they stand on, whichever way round they are asked."""

from __future__ import annotations

from typing import Any

import pytest

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
