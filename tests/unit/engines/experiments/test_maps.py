"""A map shows where a version fails beside where it passes, invents nothing in between, and is quiet on equal sides."""

import json
from pathlib import Path
from random import Random

import pytest

from watchkeeper.engines.experiments.maps import Measured, changes, draw, gate, read_cells, read_measured, traffic
from watchkeeper.engines.experiments.rows import TableError

RATES = {("sums", "easy"): 0.95, ("sums", "hard"): 0.95, ("dates", "easy"): 0.3, ("dates", "hard"): 0.92}
BY = ("family", "difficulty")
ORDER = {"difficulty": ["easy", "hard"]}


def answers(rng: Random, rates: dict[tuple[str, str], float], n: int = 80) -> list[Measured]:
    return [
        Measured(cell, f"{'-'.join(cell)}-{number}", None, float(rng.random() < rate))
        for cell, rate in rates.items()
        for number in range(n)
    ]


def test_an_easy_cell_that_fails_beside_a_hard_one_that_passes_is_shown() -> None:
    drawn = draw(answers(Random(1), RATES), BY, 0.7, ORDER)
    assert [each.cell for each in drawn.cells if each.state == "failing"] == [("dates", "easy")]
    first = drawn.inversions[0]
    assert (first.easy, first.hard, first.separated) == (("dates", "easy"), ("dates", "hard"), True)
    assert first.easy_rate.high < first.hard_rate.low


def test_gating_cuts_errors_at_a_stated_coverage() -> None:
    rng = Random(2)
    drawn = draw(answers(rng, RATES), BY, 0.7, ORDER)
    found = gate(drawn, answers(rng, RATES))
    assert found.errors_after.high < found.errors_before.low
    assert found.coverage.value == 0.75
    assert found.route == (("dates", "easy"),)


def test_a_lost_cell_comes_first_though_the_average_gained() -> None:
    rng = Random(3)
    cells = {(f"f{n}", "x"): 0.6 for n in range(6)}
    after = {**dict.fromkeys(cells, 0.85), ("f3", "x"): 0.2}
    found = changes(answers(rng, cells), answers(rng, after))
    assert (found.cells[0].cell, found.cells[0].verdict) == (("f3", "x"), "lost")
    assert found.average is not None
    assert found.average > 0


def test_a_cell_that_one_side_lacks_is_unmeasured_there() -> None:
    rng = Random(4)
    found = changes(answers(rng, RATES), answers(rng, {("sums", "easy"): 0.9, ("new", "easy"): 0.9}))
    verdicts = {each.cell: each.verdict for each in found.cells}
    assert verdicts["new", "easy"] == "unmeasured in A"
    assert verdicts["dates", "hard"] == "unmeasured in B"


@pytest.mark.parametrize("same_items", [True, False])
def test_equal_versions_lose_a_cell_in_at_most_five_percent(same_items: bool) -> None:
    rng, alarms = Random(5), 0
    rates = {(f"f{n}", "x"): 0.5 + 0.05 * n for n in range(8)}
    for _ in range(60):
        a, b = answers(rng, rates, 40), answers(rng, rates, 40 if same_items else 37)
        alarms += any(each.verdict in ("lost", "gained") for each in changes(a, b).cells)
    assert alarms / 60 <= 0.05 + 3 * (0.05 * 0.95 / 60) ** 0.5


def test_a_map_of_cells_at_their_bar_calls_few_of_them() -> None:
    rng, calls, inverted = Random(6), 0, 0
    rates = {(f"f{n}", d): 0.8 for n in range(5) for d in ("easy", "hard")}
    for _ in range(150):
        drawn = draw(answers(rng, rates, 60), BY, 0.8, ORDER)
        calls += any(each.state != "open" for each in drawn.cells)
        inverted += any(each.separated for each in drawn.inversions)
    most = 0.05 + 3 * (0.05 * 0.95 / 150) ** 0.5
    assert calls / 150 <= most
    assert inverted / 150 <= most


def test_live_traffic_in_unmeasured_cells_is_told() -> None:
    drawn = draw(answers(Random(7), RATES), BY, 0.7, ORDER)
    found = traffic(drawn, [("dates", "easy")] * 30 + [("poems", "easy")] * 50 + [("sums", "hard")] * 20)
    assert (found.unmeasured.value, found.failing.value, found.passing.value) == (0.5, 0.3, 0.2)
    assert found.busiest[0] == (("poems", "easy"), "unmeasured", 50)


def test_reruns_of_an_item_count_once() -> None:
    same = [Measured(("a",), "one", None, 1.0)] * 100
    (cell,) = draw(same, ("x",)).cells
    assert cell.rate is not None
    assert (cell.rate.n, cell.state) == (1, "unmeasured")


def test_runs_and_tables_are_read_and_rows_without_a_score_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"family": "a", "case_id": "1", "scores": [{"name": "exact", "value": 1.0}]},
            {"family": "a", "case_id": "2", "exact": "no"}, {"family": "b", "case_id": "3", "scores": []}]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, rows)))
    found, unjudged, _ = read_measured(path, ["family"], "exact")
    assert [(each.item, each.right) for each in found] == [("1", 1.0), ("2", 0.0)]
    assert unjudged == 1
    assert read_cells(path, ["family"]) == [("a",), ("a",), ("b",)]
    with pytest.raises(TableError, match="no row with a score"):
        read_measured(path, ["family"], "other")
