"""Draws rates over two axes as a grid of tiles, which say their state in words, pattern and border too."""

from __future__ import annotations

from watchkeeper.records.document import Grid, Tile
from watchkeeper.server.charts import safe

TILE, TILE_HIGH, GAP = 124, 66, 4
LONGEST_LABEL = 24
FAINT, STRONG = 0.1, 0.45
STATES = {"passing": "passes", "failing": "fails", "open": "open", "unmeasured": "not measured"}


def heat_grid(grid: Grid) -> str:
    """Rates over two axes as tiles; each says its state, rate, interval and n in words.

    States differ in pattern and border too: passing is filled, failing has a thick border, open is empty, unmeasured is
    hatched with a broken border. A fill is the stronger the further the rate lies from the bar. A grid without tiles
    says so in words.
    """
    if not grid.rows or not grid.columns:
        return f'<p class="chart-empty">{safe(grid.title)}: no cells.</p>'
    left = 14 + 7 * max(len(_short(name)) for name in (*grid.rows, grid.down))
    width = left + len(grid.columns) * (TILE + GAP)
    height = 42 + len(grid.rows) * (TILE_HIGH + GAP) + 4
    shown = [tile for row in grid.tiles for tile in row if tile is not None]
    counts = ", ".join(f"{sum(each.state == state for each in shown)} {word}" for state, word in STATES.items())
    label = f"{grid.title}: {len(shown)} cells, {counts}"
    parts = [
        f'<svg class="heat" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{safe(label)}"><title>{safe(label)}</title>',
        f'<text class="axis" x="{left}" y="12">{safe(_short(grid.across))}</text>',
        f'<text class="axis" x="2" y="34">{safe(_short(grid.down))}</text>',
        *(_name(name, left + place * (TILE + GAP) + TILE / 2, 34, "middle") for place, name in enumerate(grid.columns)),
    ]
    for line, (name, tiles) in enumerate(zip(grid.rows, grid.tiles, strict=True)):
        y = 42 + line * (TILE_HIGH + GAP)
        parts.append(_name(name, 2, y + TILE_HIGH / 2 + 4, "start"))
        for place, tile in enumerate(tiles):
            if tile is not None:
                about = f"{grid.down} {name}, {grid.across} {grid.columns[place]}"
                parts.append(_tile(tile, left + place * (TILE + GAP), y, about, grid.limit))
    legend = "".join(f'<span class="key">{_swatch(state)}{word}</span>' for state, word in STATES.items())
    bar = "" if grid.limit is None else f'<span class="key">bar {grid.limit:g}</span>'
    head = f'<figcaption><span class="chart-title">{safe(grid.title)}</span>{legend}{bar}</figcaption>'
    return f'<figure class="chart-figure">{head}<div class="scroll">{"".join(parts)}</svg></div></figure>'


def _tile(tile: Tile, x: float, y: float, about: str, limit: float | None) -> str:
    word = STATES.get(tile.state, tile.state)
    middle = x + TILE / 2
    said = word
    lines = [f'<text class="tile-state" x="{middle:.1f}" y="{y + 17}" text-anchor="middle">{safe(word)}</text>']
    value, low, high = tile.value, tile.low, tile.high
    if value is None or low is None or high is None:
        lines.append(_tile_text(middle, y + 40, "no item"))
    else:
        said = f"{word}: {value:.3g} ({low:.3g} to {high:.3g}, n = {tile.n:,})"
        lines += [
            _tile_text(middle, y + 33, f"{value:.3g} (n = {tile.n:,})"),
            _tile_text(middle, y + 47, f"{low:.3g} to {high:.3g}"),
            *_whisker(tile, x, y + 57, limit),
        ]
    state = tile.state if tile.state in STATES else "open"
    far = 0.0
    if value is not None and limit is not None:
        far = abs(value - limit) / max(1 - limit if value >= limit else limit, 1e-9)
    fill = f' fill-opacity="{FAINT + (STRONG - FAINT) * min(far, 1.0):.2f}"' if state in ("passing", "failing") else ""
    hatch = _hatch(x, y, TILE, TILE_HIGH, 9) if state == "unmeasured" else ""
    rect = (
        f'<rect class="tile-empty" x="{x}" y="{y}" width="{TILE}" height="{TILE_HIGH}" rx="4"/>'
        f'<rect class="tile {state}" x="{x + 1}" y="{y + 1}" width="{TILE - 2}" height="{TILE_HIGH - 2}" rx="4"{fill}/>'
    )
    return f"<g><title>{safe(about)}: {safe(said)}</title>{rect}{hatch}{''.join(lines)}</g>"


def _hatch(x: float, y: float, width: float, height: float, step: float) -> str:
    """Slanting lines over a rectangle; drawn one by one, for a page of its own refers to nothing."""
    lines = []
    for start in range(round(step / 2), round(width + height), round(step)):
        x0, y0 = (start, 0.0) if start <= width else (width, start - width)
        x1, y1 = (0.0, start) if start <= height else (start - height, height)
        lines.append(f"M{x + x0:.1f} {y + y0:.1f}L{x + x1:.1f} {y + y1:.1f}")
    return f'<path class="hatch" d="{"".join(lines)}"/>'


def _whisker(tile: Tile, x: float, y: float, limit: float | None) -> list[str]:
    """The interval on a line from 0 to 1, with the rate and the bar on it."""

    def place(share: float) -> float:
        return x + 10 + min(max(share, 0.0), 1.0) * (TILE - 20)

    assert tile.low is not None and tile.high is not None and tile.value is not None
    parts = [
        f'<line class="grid" x1="{x + 10}" x2="{x + TILE - 10}" y1="{y}" y2="{y}"/>',
        f'<line class="tile-span" x1="{place(tile.low):.1f}" x2="{place(tile.high):.1f}" y1="{y}" y2="{y}"/>',
        f'<circle class="tile-dot" cx="{place(tile.value):.1f}" cy="{y}" r="2.5"/>',
    ]
    if limit is not None:
        parts.append(
            f'<line class="tile-bar" x1="{place(limit):.1f}" x2="{place(limit):.1f}" y1="{y - 5}" y2="{y + 5}"/>'
        )
    return parts


def _tile_text(x: float, y: float, text: str) -> str:
    return f'<text class="tile-text" x="{x:.1f}" y="{y}" text-anchor="middle">{safe(text)}</text>'


def _name(name: str, x: float, y: float, anchor: str) -> str:
    """A label of an axis; a long one is cut, and whole when it is pointed at."""
    return (
        f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{safe(_short(name))}'
        f"<title>{safe(name)}</title></text>"
    )


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…"


def _swatch(state: str) -> str:
    fill = f' fill-opacity="{STRONG}"' if state in ("passing", "failing") else ""
    hatch = _hatch(1, 1, 8, 8, 4) if state == "unmeasured" else ""
    return (
        f'<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true">{hatch}'
        f'<rect class="tile {state}" x="1" y="1" width="8" height="8" rx="1"{fill}/></svg>'
    )
