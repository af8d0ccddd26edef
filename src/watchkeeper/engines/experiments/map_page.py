"""Makes a capability map into a page: the grid of its cells, what stands out, and every cell in a table."""

from __future__ import annotations

from collections.abc import Sequence

from watchkeeper.engines.experiments.maps import Gate, Traffic
from watchkeeper.records.capability_map import CapabilityMap, Cell, Key
from watchkeeper.records.document import Block, Document, Facts, Grid, Heading, Table, Text, Tile
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Scalar

MOST_ROWS, MOST_COLUMNS = 60, 16
ALL = "all"
_STATES = ("passing", "failing", "open", "unmeasured")


def page(drawn: CapabilityMap, gated: Gate | None, live: Traffic | None, source: str, at_ns: int) -> Document:
    """The map as a document; `source` is what it was drawn from, as people name it."""
    counts = tuple((f"{state} cells", sum(each.state == state for each in drawn.cells)) for state in _STATES)
    composition = ", ".join(each.digest[:12] for each in drawn.compositions) or "not told"
    facts: tuple[tuple[str, Scalar], ...] = (
        *counts,
        ("bar", drawn.bar),
        ("unjudged answers", drawn.unjudged),
        ("composition", composition),
    )
    blocks: list[Block] = [Facts(items=facts), grid(drawn), Text(text=_READING), *_standing_out(drawn)]
    if gated is not None:
        blocks += [
            Heading(text="Answering in passing cells only"),
            Facts(
                items=(
                    ("errors before", said(gated.errors_before)),
                    ("errors after", said(gated.errors_after)),
                    ("coverage", said(gated.coverage)),
                )
            ),
        ]
    if live is not None:
        blocks += _live(drawn, live)
    rows = tuple((*each.cell, said(each.rate), each.state) for each in drawn.cells)
    blocks += [Heading(text="Every cell"), Table(columns=(*drawn.columns, "rate", "state"), rows=rows)]
    return Document(title="Capability map", subtitle=source, at_ns=at_ns, blocks=tuple(blocks))


_READING = (
    "A cell passes when its whole interval is at or above the bar and fails when all of it is below; the intervals "
    "hold for all cells together. A cell that is not measured has too few items to pass whatever they gave. Nothing is "
    "interpolated between cells."
)


def grid(drawn: CapabilityMap) -> Grid:
    """The cells over the last column (across) and the others (down); a large map is cut, and its title says so."""
    down = _ordered({each.cell[:-1] for each in drawn.cells}, drawn.columns[:-1], drawn)
    across = _ordered({each.cell[-1:] for each in drawn.cells}, drawn.columns[-1:], drawn)
    cells = {each.cell: each for each in drawn.cells}
    title = drawn.score or "rate"
    if len(down) > MOST_ROWS or len(across) > MOST_COLUMNS:
        title += f" (the first {min(len(down), MOST_ROWS)} x {min(len(across), MOST_COLUMNS)}; all are in the table)"
    down, across = down[:MOST_ROWS], across[:MOST_COLUMNS]
    return Grid(
        title=title,
        down=" / ".join(drawn.columns[:-1]),
        across=drawn.columns[-1],
        rows=tuple(" / ".join(key) or ALL for key in down),
        columns=tuple(key[0] for key in across),
        tiles=tuple(tuple(_tile(cells.get(row + column)) for column in across) for row in down),
        limit=drawn.bar,
    )


def said(rate: Estimate | None) -> str:
    """A rate in words."""
    if rate is None or rate.n == 0:
        return "unmeasured"
    return f"{rate.value:.3g} ({rate.low:.3g} to {rate.high:.3g}, n = {rate.n})"


def _ordered(keys: set[Key], columns: Sequence[str], drawn: CapabilityMap) -> list[Key]:
    """Keys by the order that the map knows of a column, and by their names."""
    ranks = [{value: rank for rank, value in enumerate(drawn.orders.get(name, ()))} for name in columns]

    def place(key: Key) -> list[tuple[int, str]]:
        return [(rank.get(value, len(rank)), value) for rank, value in zip(ranks, key, strict=True)]

    return sorted(keys, key=place)


def _tile(cell: Cell | None) -> Tile:
    if cell is None or cell.rate is None:
        return Tile(state="unmeasured")
    rate = cell.rate
    return Tile(state=cell.state, value=rate.value, low=rate.low, high=rate.high, n=rate.n)


def _standing_out(drawn: CapabilityMap) -> list[Block]:
    rows = tuple(
        (" / ".join(each.easy), said(each.easy_rate), " / ".join(each.hard), said(each.hard_rate))
        for each in drawn.inversions
        if each.separated
    )
    if not rows:
        return []
    return [Heading(text="Easier and worse"), Table(columns=("easier", "rate", "harder", "rate "), rows=rows)]


def _live(drawn: CapabilityMap, live: Traffic) -> list[Block]:
    shares = tuple((f"in {state} cells", said(getattr(live, state))) for state in _STATES)
    rows: tuple[tuple[Scalar, ...], ...] = tuple((*key, state, count) for key, state, count in live.busiest)
    return [
        Heading(text="Live traffic"),
        Facts(items=(("calls", live.calls), *shares)),
        Table(columns=(*drawn.columns, "state", "calls"), rows=rows, numeric=("calls",)),
    ]
