"""The pages of experiments: scores with their error bars, cases to look at first, and a comparison with its doubt."""

from __future__ import annotations

import json
import math

import pytest

from tests.unit.server.asgi_client import ask
from tests.unit.server.scene import MS, NOW_NS, House
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.experiment import Experiment
from watchkeeper.records.record import Record
from watchkeeper.records.score import Score
from watchkeeper.server.store_app import store_app
from watchkeeper.server.views.experiments import pictures

pytestmark = pytest.mark.anyio
EVIL = "<script>alert(1)</script>"
NEW, OLD = "/ui/experiments/exp_new", "/ui/experiments/exp_new?against=exp_old"


def run(experiment_id: str, values: list[float | None], version: str = "1", **more: int) -> list[Record]:
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if known else math.nan
    found: list[Record] = [
        Experiment(
            experiment_id=experiment_id, suite="refunds", target="lab-large", end_ns=NOW_NS + 900 * MS,
            cases=len(values), errors=values.count(None),
            summary={"exact": Estimate(value=mean, low=mean - 0.1, high=mean + 0.1, n=len(known), method="Wilson")},
            **{"at_ns": NOW_NS, **more},
        )
    ]  # fmt: skip
    for number, value in enumerate(values):
        found.append(
            Score(
                score_id=f"scr_{experiment_id}_{number}", subject_kind="case", subject_id=f"case-{number}",
                name="exact",
                at_ns=NOW_NS, event_ns=NOW_NS, value=value, explanation=f"said 5 days {EVIL}" if not value else None,
                scorer="exact", version=version, source="experiment", experiment_id=experiment_id,
            )
        )  # fmt: skip
    return found


async def test_a_list_shows_each_mean_with_its_interval(house: House) -> None:
    await house.record(*run("exp_new", [1.0] * 15 + [0.0] * 4 + [None]))
    page = (await ask(store_app(house.parts()), "/ui/experiments")).text
    assert "exact 0.789 (0.689 to 0.889)" in page
    assert '<span class="badge error">1</span>' in page
    assert '<a class="main" href="/ui/experiments/exp_new">refunds</a>' in page


async def test_without_experiments_the_page_says_how_to_run_one(empty_house: House) -> None:
    assert "watchkeeper eval run suite.yaml" in (await ask(store_app(empty_house.parts()), "/ui/experiments")).text


async def test_one_run_shows_what_was_not_answered_before_what_failed_and_escapes_it(house: House) -> None:
    await house.record(*run("exp_new", [1.0, 0.0, None]))
    page = (await ask(store_app(house.parts()), NEW)).text
    assert EVIL not in page
    assert page.index("case-2") < page.index("case-1") < page.index("case-0")
    assert "No other run of this suite is on record." in page


async def test_too_few_cases_beside_another_run_are_not_resolved(house: House) -> None:
    await house.record(*run("exp_old", [1.0] * 6 + [0.0] * 4), *run("exp_new", [1.0] * 7 + [0.0] * 3))
    page = (await ask(store_app(house.parts()), OLD)).text
    assert ">not resolved</span>" in page
    assert "1 up, 0 down" in page
    assert "case-6" in page
    assert "case-0" not in page


async def test_the_run_before_is_taken_unless_none_is_asked_for(house: House) -> None:
    old, new = run("exp_old", [1.0] * 9, at_ns=NOW_NS - 9 * MS), run("exp_new", [1.0] * 8 + [0.0])
    await house.record(*old, *new)
    app = store_app(house.parts())
    assert ">not resolved</span>" in (await ask(app, NEW)).text
    assert ">not resolved</span>" not in (await ask(app, NEW + "?against=")).text
    assert ">not resolved</span>" not in (await ask(app, "/ui/experiments/exp_old")).text


async def test_many_cases_that_fell_are_worse_and_the_api_says_the_same(house: House) -> None:
    await house.record(*run("exp_old", [1.0] * 40), *run("exp_new", [0.0] * 20 + [1.0] * 20))
    app = store_app(house.parts())
    assert ">worse</span>" in (await ask(app, OLD)).text
    (score,) = json.loads((await ask(app, "/api/v1/experiments/exp_new/against/exp_old")).body)["scores"]
    assert score["comparison"]["verdict"] == "worse"
    assert score["comparison"]["worsened"] == 20


async def test_scores_of_another_version_are_not_compared(house: House) -> None:
    await house.record(*run("exp_old", [1.0] * 9), *run("exp_new", [1.0] * 9, version="2"))
    app = store_app(house.parts())
    assert "are not of one kind" in (await ask(app, OLD)).text
    answer = await ask(app, "/api/v1/experiments/exp_new/against/exp_old")
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (409, "not_comparable")


async def test_what_is_not_there_is_said(house: House) -> None:
    await house.record(*run("exp_new", [1.0]))
    app = store_app(house.parts())
    assert (await ask(app, "/ui/experiments/exp_gone")).status == 404
    assert (await ask(app, "/api/v1/experiments/exp_new/against/exp_gone")).status == 404
    assert "There is no experiment" in (await ask(app, NEW + "?against=exp_gone")).text


def test_shares_have_one_axis_another_unit_its_own_and_what_is_not_known_none() -> None:
    rate, words = (
        Estimate(value=0.5, low=0.4, high=0.6, n=9, method="t"),
        Estimate(value=9, low=8, high=9, n=9, method="t"),
    )
    unknown = Estimate(value=math.nan, low=-math.inf, high=math.inf, n=0, method="none")
    rows = [
        {"name": name, "estimate": each} for name, each in (("a", rate), ("words", words), ("b", rate), ("c", unknown))
    ]
    assert [[bar.name for bar in each.bars] for each in pictures("Means", rows)] == [["a", "b"], ["words"]]
    assert pictures("Means", rows[3:]) == []
