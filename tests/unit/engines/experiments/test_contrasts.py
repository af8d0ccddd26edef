"""Several comparisons of one table are adjusted for their number, and what is left out of them is named."""

from __future__ import annotations

from random import Random

import pytest

from watchkeeper.engines.experiments.contrasts import How, all_pairs, compare_groups, in_slices
from watchkeeper.engines.experiments.tables import Scored, TableError


def group(name: str, good: int, n: int = 60, part: str | None = None, seed: int = 0) -> list[Scored]:
    order = list(range(n))
    Random(seed).shuffle(order)
    return [Scored(str(item), name, None, None, float(rank < good), part) for rank, item in enumerate(order)]


def test_every_pair_is_compared_with_adjusted_p_values() -> None:
    found = all_pairs([*group("a", 10, seed=1), *group("b", 50, seed=2), *group("c", 11, seed=3)])
    assert [(each.a, each.b) for each in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [each.compared.verdict for each in found] == ["better", "not resolved", "worse"]
    assert all(each.adjusted_p_value >= each.compared.p_value for each in found)


def test_luck_among_many_is_held_back_and_said() -> None:
    rng = Random(4)
    rows = [Scored(str(i), f"g{g}", None, None, float(rng.random() < 0.5)) for g in range(12) for i in range(80)]
    # One group is lifted just so far that it would pass alone against some other.
    rows += [Scored(str(i), "lifted", None, None, float(rng.random() < 0.62)) for i in range(80)]
    found = all_pairs(rows)
    held = [each for each in found if any("may be luck" in note for note in each.compared.notes)]
    assert held
    assert all(each.compared.verdict == "not resolved" for each in held)
    assert all(each.compared.p_value < 0.05 <= each.adjusted_p_value for each in held)


def test_equal_groups_bring_any_false_claim_in_at_most_alpha_of_tables() -> None:
    rng, wrong = Random(5), 0
    for _ in range(60):
        rows = [Scored(str(i), f"g{g}", None, None, rng.random()) for g in range(5) for i in range(30)]
        wrong += any(each.compared.verdict in ("better", "worse") for each in all_pairs(rows))
    assert wrong / 60 <= 0.05 + 3 * (0.05 * 0.95 / 60) ** 0.5


def test_slices_are_compared_apart_and_lonely_ones_named() -> None:
    a = [*group("a", 10, part="x"), *group("a", 10, part="y"), *group("a", 10, part="only")]
    b = [*group("b", 50, part="x"), *group("b", 10, part="y")]
    x, y = in_slices(a, b, names=("a", "b"))
    assert (x.slice, x.compared.verdict, y.slice, y.compared.verdict) == ("x", "better", "y", "not resolved")
    assert any("only" in note for note in x.compared.notes)
    with pytest.raises(TableError, match="share no slice"):
        in_slices(group("a", 1, part="x"), group("b", 1, part="y"))


def test_one_group_cannot_be_compared() -> None:
    with pytest.raises(TableError, match="only 'a'"):
        all_pairs(group("a", 3))


def test_items_without_a_cluster_or_a_name_are_told() -> None:
    rows = [Scored(str(i), "a", "c" if i < 5 else None, None, i / 10) for i in range(10)]
    other = [row._replace(score=(row.score or 0) + 0.1 + int(row.item or 0) / 100) for row in rows]
    found = compare_groups([*rows, Scored(None, "a", None, None, 1.0)], other)
    assert (found.n, found.clusters, found.dropped) == (10, 6, 1)
    assert any("name no cluster" in note for note in found.notes)
    assert any("1 rows of A name no item" in note for note in found.notes)


@pytest.mark.parametrize(("clusters", "says"), [(1, "no verdict is possible"), (4, "too few for a p-value")])
def test_too_few_clusters_are_told(clusters: int, says: str) -> None:
    rows = [Scored(str(i), "a", str(i % clusters), None, i / 40) for i in range(40)]
    found = compare_groups(
        rows, [row._replace(score=(row.score or 0) + 0.5 + int(row.item or 0) / 400) for row in rows]
    )
    assert found.verdict == "not resolved"
    assert any(says in note for note in found.notes)


def test_nothing_shared_shows_the_names_of_both_sides() -> None:
    with pytest.raises(TableError, match=r"share no item.*\['1'\].*\['1\.0'\]"):
        compare_groups([Scored("1", "a", None, None, 1.0)], [Scored("1.0", "b", None, None, 1.0)])


def test_margins_are_held_for_all_pairs_together() -> None:
    """Each pair alone is within the margin; among ten groups no such claim is left."""
    rows = [row for seed in range(10) for row in group(f"g{seed}", 50, seed=seed)]
    margin = 0.17
    alone = compare_groups(*(group(f"g{seed}", 50, seed=seed) for seed in (0, 1)), How(margin=margin))
    among = next(each.compared for each in all_pairs(rows, How(margin=margin)) if (each.a, each.b) == ("g0", "g1"))
    assert (alone.non_inferior, among.non_inferior) == (True, False)


def test_a_test_and_an_interval_that_disagree_are_told() -> None:
    a = [Scored(str(i), "a", None, None, float(i < 22)) for i in range(40)]
    b = [Scored(str(i), "b", None, None, float(i >= 6 and i < 37)) for i in range(40)]
    found = compare_groups(a, b)
    assert (found.verdict, found.low > 0, found.p_value > 0.05) == ("not resolved", True, True)
    assert any("needs both" in note for note in found.notes)


def test_two_samples_are_told_as_such_and_reruns_hang_together() -> None:
    a = [Scored(str(i % 20), "a", None, str(i // 20), float(i % 20 < 9)) for i in range(60)]
    b = [Scored(f"x{i}", "b", None, None, float(i % 3 > 0)) for i in range(45)]
    found = compare_groups(a, b, How(unpaired=True))
    assert (found.n, found.improved, found.clusters) == (20, None, None)
    assert "over clusters" in found.method
    assert "20 items of A and 45 of B" in found.notes[0]
    with pytest.raises(TableError, match="no row with an item and a score"):
        compare_groups(a, [b[0]._replace(score=None)], How(unpaired=True))
