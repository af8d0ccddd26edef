"""A map's page shows what the map says: the grid in the order of difficulty, and every cell in the table."""

from __future__ import annotations

from random import Random

from tests.unit.engines.experiments.test_maps import BY, ORDER, RATES, answers
from watchkeeper.engines.experiments import map_page
from watchkeeper.engines.experiments.map_page import grid, page
from watchkeeper.engines.experiments.maps import Measured, draw, gate, sealed, traffic
from watchkeeper.records.document import Facts, Grid, Table


def test_the_grid_has_the_last_column_across_and_empty_cells_are_not_measured() -> None:
    drawn = draw([*answers(Random(1), RATES), Measured(("poems", "hard"), "p", None, 1.0)], BY, 0.7, ORDER)
    found = grid(drawn)
    assert (found.rows, found.columns) == (("dates", "poems", "sums"), ("easy", "hard"))
    states = [[tile.state for tile in row if tile is not None] for row in found.tiles]
    assert states[0] == ["failing", "passing"]
    assert states[1] == ["unmeasured", "unmeasured"]
    assert (found.tiles[1][0], found.tiles[1][1]) != (found.tiles[1][1], found.tiles[1][0])


def test_columns_keep_the_order_of_difficulty_and_not_of_the_alphabet() -> None:
    drawn = draw(answers(Random(1), RATES), BY, 0.7, {"difficulty": ["hard", "easy"]})
    assert grid(drawn).columns == ("hard", "easy")


def test_one_column_makes_one_row() -> None:
    found = grid(draw([Measured((each,), each, None, 1.0) for each in "ab"], ("kind",)))
    assert (found.rows, found.columns) == (("all",), ("a", "b"))


def test_a_large_map_is_cut_in_the_grid_and_whole_in_the_table() -> None:
    cells = [(str(row), str(column)) for row in range(70) for column in range(20)]
    drawn = draw([Measured(key, "/".join(key), None, 1.0) for key in cells], BY)
    document = page(drawn, None, None, "x", 0)
    (shown,) = (each for each in document.blocks if isinstance(each, Grid))
    assert (len(shown.rows), len(shown.columns)) == (map_page.MOST_ROWS, map_page.MOST_COLUMNS)
    assert "all are in the table" in shown.title
    tables = [each for each in document.blocks if isinstance(each, Table)]
    assert len(tables[-1].rows) == len(cells)


def test_what_gating_does_and_where_live_calls_lie_are_told() -> None:
    rng = Random(2)
    drawn = sealed(draw(answers(rng, RATES), BY, 0.7, ORDER), "exact", (), 1)
    live = traffic(drawn, [("dates", "easy"), ("poems", "easy")])
    document = page(drawn, gate(drawn, answers(rng, RATES)), live, "x", 0)
    facts = [dict(each.items) for each in document.blocks if isinstance(each, Facts)]
    assert str(facts[1]["coverage"]).startswith("0.75 (")
    assert facts[2]["calls"] == 2 and str(facts[2]["in failing cells"]).startswith("0.5 (")
