"""Summaries and comparisons of tables: each odd table has its outcome, and nothing is left out unsaid."""

from __future__ import annotations

import math
from random import Random

import pytest

from watchkeeper.engines.experiments.contrasts import compare_groups
from watchkeeper.engines.experiments.summaries import summarize
from watchkeeper.engines.experiments.tables import Scored, TableError


def rows(scores: dict[str, float | None], group: str = "all", cluster: str | None = None) -> list[Scored]:
    return [Scored(item, group, cluster, None, score) for item, score in scores.items()]


def test_outcomes_get_wilson_and_grades_get_t() -> None:
    outcomes, grades = summarize([*rows({"a": 1, "b": 0}, "g1"), *rows({"a": 0.2, "b": 0.4, "c": 0.9}, "g2")])
    assert (outcomes.mean, outcomes.method) == (0.5, "Wilson score")
    assert (grades.mean, grades.method) == (0.5, "Student t")
    assert grades.standard_error == pytest.approx(math.sqrt((0.09 + 0.01 + 0.16) / 2 / 3))


def test_missing_scores_are_counted_and_in_no_mean() -> None:
    (found,) = summarize(rows({"a": 1, "b": None, "c": 1}))
    assert (found.n, found.missing, found.mean) == (2, 1, 1)
    assert "1 rows have no score" in found.notes[0]


def test_one_score_and_none_say_how_little_they_are() -> None:
    one, none = summarize([*rows({"a": 0.5}, "one"), *rows({"a": None}, "two")])
    assert (one.mean, one.standard_error, one.low, one.high) == (0.5, None, -math.inf, math.inf)
    assert (none.n, none.mean, none.standard_error) == (0, None, None)


def test_constant_scores_are_said_to_be_alike() -> None:
    (found,) = summarize(rows(dict.fromkeys("abcd", 1.0)))
    assert found.low < found.high == 1
    assert "All scores are alike, so no spread was seen." in found.notes


def test_rows_that_repeat_an_item_count_as_reruns() -> None:
    (found,) = summarize([*rows({"a": 0.1, "b": 0.9}), *rows({"a": 0.1, "b": 0.9})])
    assert (found.n, found.items, found.clusters) == (4, 2, 2)
    assert "cluster-robust" in found.method
    assert "2 rows repeat an item" in found.notes[0]


def test_one_cluster_gives_no_standard_error() -> None:
    (found,) = summarize(rows({"a": 0.1, "b": 0.9}, cluster="only"))
    assert (found.standard_error, found.low, found.high) == (None, -math.inf, math.inf)


def test_pass_hat_k_goes_as_far_as_half_of_the_items_were_tried() -> None:
    tried = [
        Scored(item, "all", None, str(run), float(run < good))
        for item, good in {"a": 4, "b": 2}.items()
        for run in range(4)
    ]
    (found,) = summarize(tried)
    assert [round(found.pass_hat_k[k].value, 4) for k in "1234"] == [0.75, 0.5833, 0.5, 0.5]
    (uneven,) = summarize(tried[:-1])
    assert {k: each.n for k, each in uneven.pass_hat_k.items()} == {"1": 2, "2": 2, "3": 2, "4": 1}
    assert any("k = 4 leaves out" in note for note in uneven.notes)
    (once,) = summarize([*tried, Scored("c", "all", None, "0", 1.0), Scored("d", "all", None, "0", 1.0)])
    assert {k: each.n for k, each in once.pass_hat_k.items()} == {"1": 4, "2": 2, "3": 2, "4": 2}
    assert summarize([*tried[:1], *tried[4:5]])[0].pass_hat_k == {}


def test_items_of_one_side_only_are_counted() -> None:
    found = compare_groups(rows({"a": 1, "b": 0, "c": 1}), rows({"b": 1, "c": 1, "d": 0, "e": None}))
    assert (found.n, found.only_in_a, found.only_in_b, found.missing) == (2, 1, 1, 1)
    assert "1 items are scored in A only and 1 in B only" in found.notes[0]


def test_nothing_shared_cannot_be_compared() -> None:
    with pytest.raises(TableError, match="share no item"):
        compare_groups(rows({"a": 1}), rows({"b": 1}))


def test_an_item_in_two_clusters_is_refused() -> None:
    with pytest.raises(TableError, match="lies in two clusters"):
        compare_groups(rows({"a": 1}, cluster="x"), rows({"a": 1}, cluster="y"))


def test_one_pair_resolves_nothing() -> None:
    found = compare_groups(rows({"a": 0.0}), rows({"a": 1.0}))
    assert (found.verdict, found.n, found.standard_error) == ("not resolved", 1, None)


def test_clusters_widen_the_error_of_what_hangs_together() -> None:
    rng = Random(3)
    shift = {str(c): rng.gauss(0, 1) for c in range(12)}
    a = [Scored(f"{c}-{i}", "a", c, None, rng.random()) for c in shift for i in range(10)]
    b = [Scored(r.item, "b", r.cluster, None, (r.score or 0) + shift[r.cluster or ""] + rng.gauss(0, 0.1)) for r in a]
    alone = (
        [Scored(r.item, r.group, None, None, r.score) for r in a],
        [Scored(r.item, r.group, None, None, r.score) for r in b],
    )
    assert (compare_groups(a, b).standard_error or 0) > 2 * (compare_groups(*alone).standard_error or 1)


def test_items_that_are_scored_unequally_often_are_told_with_their_own_mean() -> None:
    tries = [Scored("a", "all", None, None, 1.0)] * 3 + [Scored("b", "all", None, None, 0.0)]
    (found,) = summarize(tries)
    assert found.mean == 0.75
    assert any("1 to 3 scores" in note and note.endswith("is 0.5.") for note in found.notes)


def test_grades_that_reach_an_end_stay_within_it() -> None:
    (found,) = summarize([Scored(str(i), "all", None, None, 0.5 if i == 0 else 1.0) for i in range(12)])
    assert found.method == "Wilson at the effective size"
    assert found.high <= 1
    (clustered,) = summarize([Scored(str(i), "all", str(i % 6), None, 0.5 if i == 0 else 1.0) for i in range(12)])
    assert "Wilson" in clustered.method
