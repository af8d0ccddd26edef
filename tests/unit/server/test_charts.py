"""Charts draw what they are given, say it in words, and never break out of their SVG."""

from __future__ import annotations

import math
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.records.document import Bar, Bars, Chart, Series
from watchkeeper.records.estimate import Estimate
from watchkeeper.server.charts import (
    bar_chart,
    interval_bar,
    nice_ticks,
    sparkline,
    tick_label,
    time_chart,
)

NOW = 1_795_000_000_000_000_000
EVIL = '"><script>alert(1)</script>'


def chart(*values: float, **more: object) -> Chart:
    """A chart of values a minute apart."""
    points = tuple((NOW + i * 60 * 10**9, value) for i, value in enumerate(values))
    return Chart(**{"title": "t", "series": (Series(name="s", points=points),), **more})  # type: ignore[arg-type]


def test_a_chart_is_well_formed_and_says_what_it_shows() -> None:
    drawn = time_chart(chart(1, 5, 3, limit=4.0, limit_name="page at", marks=((NOW, "deploy"),)))
    root = ElementTree.fromstring(drawn)
    svg = root.find("svg")
    assert svg is not None
    assert svg.get("role") == "img"
    assert "3 points" in str(svg.get("aria-label"))
    assert "page at" in drawn
    assert "deploy" in drawn


@pytest.mark.parametrize("values", [(), (0.0,), (2.0, 2.0), (-1.0, 1.0), (math.inf, 1.0), (1e-9, 1e12)])
def test_any_values_make_a_picture(values: tuple[float, ...]) -> None:
    ElementTree.fromstring(time_chart(chart(*values)))


def test_no_points_is_said_in_words() -> None:
    assert "no points" in time_chart(chart())


def test_names_from_outside_are_escaped() -> None:
    evil = Chart(
        title=EVIL, unit=EVIL, limit=1.0, limit_name=EVIL, marks=((NOW, EVIL),),
        series=(Series(name=EVIL, points=((NOW, 1.0),)),),
    )  # fmt: skip
    drawn = time_chart(evil) + interval_bar(Estimate(value=1, low=0, high=2, n=3, method=EVIL)) + sparkline([1], EVIL)
    assert "<script" not in drawn


def test_an_interval_is_drawn_from_its_low_to_its_high_beside_the_limit() -> None:
    drawn = interval_bar(Estimate(value=14.6, low=9.2, high=21.5, n=212, method="Wilson"), 14.4)
    label = str(ElementTree.fromstring(drawn).get("aria-label"))
    assert "9.2 to 21.5" in label
    assert "n = 212" in label
    assert "limit 14.4" in label
    assert 'class="limit"' in drawn


def test_an_interval_without_an_end_has_an_arrow() -> None:
    drawn = interval_bar(Estimate(value=1, low=-math.inf, high=math.inf, n=1, method="none"))
    assert drawn.count("<polygon") == 2
    assert "−∞ to ∞" in drawn


def test_unknown_values_leave_a_gap_in_a_sparkline() -> None:
    assert sparkline([1, 2, None, 3, 4], "x").count("<polyline") == 2
    assert sparkline([None, None], "x") == ""


@given(st.floats(-1e12, 1e12), st.floats(1e-6, 1e12))
def test_ticks_cover_the_range_with_a_handful_of_steps(low: float, span: float) -> None:
    ticks = nice_ticks(low, low + span)
    assert 2 <= len(ticks) <= 13
    assert ticks == sorted(ticks)


@pytest.mark.parametrize(("value", "text"), [(1500, "1.5k"), (2e7, "20M"), (0.05, "0.05"), (-3, "−3"), (math.inf, "∞")])
def test_tick_labels_are_short(value: float, text: str) -> None:
    assert tick_label(value) == text


def test_a_limit_is_named_with_its_unit_and_what_is_measured_stands_below() -> None:
    estimate = Estimate(value=5, low=2.855, high=7.145, n=48, method="burn rate", unit="x")
    drawn = interval_bar(estimate, 1.5, limit_name="alert at", about="burn rate; 1 is what is allowed")
    texts = [str(each.text) for each in ElementTree.fromstring(drawn).iter("text")]
    assert texts == ["2.85 x", "5 x", "7.14 x", "alert at 1.5 x", "burn rate; 1 is what is allowed"]


def test_few_points_have_an_interval_each_and_axes_that_say_what_they_are() -> None:
    series = Series(name="s", points=((NOW, 50.0),), low=(30.0,), high=(70.0,))
    drawn = time_chart(Chart(title="t", series=(series,), unit="% bad", marks=((NOW - 10**10, "before"),)))
    assert drawn.count('class="whisker') == 1
    assert "% bad" in drawn
    assert "time, UTC" in drawn
    assert 'class="mark"' in drawn


def test_marks_at_one_time_do_not_hide_each_other() -> None:
    drawn = time_chart(chart(1, 2, 3, marks=((NOW, "a"), (NOW, "b"), (NOW, "c"))))
    root = ElementTree.fromstring(drawn)
    places = [float(str(each.get("cx"))) for each in root.iter("circle") if each.get("r") == "8"]
    assert len(places) == 3
    assert all(b - a >= 16 for a, b in pairwise(places))


@pytest.mark.parametrize("value", [0.5, -0.5, 0.0, math.inf, math.nan])
def test_bars_start_at_zero_and_carry_their_interval(value: float) -> None:
    bars = Bars(title=EVIL, unit=EVIL, bars=(Bar(name=EVIL * 9, value=value, low=-1.0, high=1.0, note=EVIL),))
    drawn = bar_chart(bars)
    ElementTree.fromstring(drawn)
    assert "<script" not in drawn
    assert "1 bars" in drawn and "−1 to 1" in drawn
    assert ("<rect" in drawn) == math.isfinite(value)


def test_a_bar_chart_without_bars_says_so() -> None:
    assert "nothing to show" in bar_chart(Bars(title="t", bars=()))


def test_the_axis_of_bars_is_as_asked() -> None:
    drawn = bar_chart(Bars(title="t", bars=(Bar(name="a", value=0.1, low=0.0, high=0.2),), least=-1.0, most=1.0))
    assert ">−1<" in drawn and ">1<" in drawn
