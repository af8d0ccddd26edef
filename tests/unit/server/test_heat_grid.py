"""The grid of tiles: every cell says its rate, interval and n, and what was not measured looks like nothing else."""

from __future__ import annotations

from xml.etree import ElementTree

from watchkeeper.records.document import Grid, Tile
from watchkeeper.server.heat_grid import heat_grid

EVIL = "<script>alert(1)</script>"

TILES = (
    (
        Tile(state="failing", value=0.35, low=0.24, high=0.47, n=120),
        Tile(state="passing", value=1, low=0.9, high=1, n=80),
    ),
    (Tile(state="unmeasured"), Tile(state="open", value=0.8, low=0.7, high=0.9, n=40)),
    (None, Tile(state="unmeasured", value=1, low=0.4, high=1, n=6)),
)


def grid(**more: object) -> Grid:
    """A grid of three rows and two columns, one of each state."""
    given = {"title": "right", "down": "family", "across": "difficulty", "rows": ("dates", "sums", "poems"),
             "columns": ("easy", "hard"), "tiles": TILES, "limit": 0.8}  # fmt: skip
    return Grid(**{**given, **more})  # type: ignore[arg-type]


def test_every_cell_says_its_rate_interval_and_n() -> None:
    drawn = heat_grid(grid())
    ElementTree.fromstring(drawn)
    for said in (
        "0.35 (n = 120)",
        "0.24 to 0.47",
        "family dates, difficulty easy: fails: 0.35 (0.24 to 0.47, n = 120)",
    ):
        assert said in drawn
    assert "5 cells, 1 passes, 1 fails, 1 open, 2 not measured" in drawn


def test_not_measured_looks_otherwise_than_failing_without_any_colour() -> None:
    failing, unmeasured = (heat_grid(grid(rows=("a",), columns=("b",), tiles=((tile,),))) for tile in (
        TILES[0][0], TILES[1][0]))  # fmt: skip
    tile_of = {name: drawn.partition("</figcaption>")[2] for name, drawn in (("f", failing), ("u", unmeasured))}
    assert "hatch" in tile_of["u"] and "hatch" not in tile_of["f"]
    assert ">not measured<" in tile_of["u"] and ">fails<" in tile_of["f"]
    assert "url(" not in failing + unmeasured


def test_a_grid_of_nothing_is_said_in_words_and_names_are_escaped() -> None:
    assert "no cells" in heat_grid(grid(rows=(), tiles=()))
    evil = heat_grid(grid(title=EVIL, down=EVIL, across=EVIL, rows=(EVIL,), tiles=TILES[:1]))
    ElementTree.fromstring(evil)
    assert "<script" not in evil
