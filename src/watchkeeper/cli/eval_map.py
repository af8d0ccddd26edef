"""Commands for capability maps: what a version can do, cell by cell, and what it can no longer do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.records.estimate import Estimate

F = TypeVar("F", bound=Callable[..., Any])
SHOWN = 20


class _Drawing(click.Group):
    """A group whose first word may be a file instead of a command: then its map is drawn."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command `draw` before a first word that is no command."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["draw", *args]
        return super().parse_args(ctx, args)


@click.group("map", cls=_Drawing)
def map_() -> None:
    """Map what a version can do, cell by cell; nothing is interpolated between cells.

    `eval map FILE ...` is short for `eval map draw FILE ...`.
    """


def _columns(command: F) -> F:
    for option in (
        click.option("--good", type=float, default=1.0, show_default=True, help="From this score on it is right."),
        click.option("--cluster", metavar="COL", help="Items of one cluster hang together."),
        click.option("--item", metavar="COL", help="The column that names an item [case_id or id]."),
        click.option(
            "--score", required=True, metavar="COL", help="The column, or the score of the suite, that counts."
        ),
        click.option("--by", multiple=True, required=True, metavar="COL", help="A column of the cells; repeatable."),
    ):
        command = option(command)
    return command


@map_.command()
@click.argument("file", type=click.Path(path_type=Path))
@_columns
@click.option("--bar", type=click.FloatRange(0, 1), default=0.8, show_default=True, help="What a cell must reach.")
@click.option("--order", "orders", multiple=True, metavar="COL=EASY,HARD", help="Values from easy to hard.")
@click.option("--held", type=click.Path(path_type=Path), help="Other answers, to tell what gating on the map does.")
@click.option("--traffic", type=click.Path(path_type=Path), help="Live calls with the same columns.")
@house_options
def draw(
    file: Path,
    by: tuple[str, ...],
    score: str,
    item: str | None,
    cluster: str | None,
    good: float,
    bar: float,
    orders: tuple[str, ...],
    held: Path | None,
    traffic: Path | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Draw the map of FILE: JSON lines or CSV with the columns of --by and a score, or a file of `eval run --out`.

    A cell passes when its whole interval is at or above the bar, fails when all of it is below; the intervals hold for
    all cells together. Exit code 1 when a cell fails, 0 when none does: a cell that is open is not known to fail.
    """
    from watchkeeper.engines.experiments import maps
    from watchkeeper.engines.experiments.rows import TableError
    from watchkeeper.queries.registry import as_plain

    del data, config
    try:
        answers, unjudged, _ = maps.read_measured(file, by, score, item, cluster, good)
        drawn = maps.draw(answers, by, bar, _orders(orders, by), unjudged)
        gated = None if held is None else maps.gate(drawn, maps.read_measured(held, by, score, item, cluster, good)[0])
        live = None if traffic is None else maps.traffic(drawn, maps.read_cells(traffic, by))
    except (TableError, ValueError) as error:
        raise Failure(str(error), "map") from error
    failing = any(each.state == "failing" for each in drawn.cells)
    if as_json:
        told = {"gate": None if gated is None else as_plain(gated), "traffic": None if live is None else as_plain(live)}
        print_json({**as_plain(drawn), **told})
        raise SystemExit(int(failing))
    print_table((*by, "rate", "state"), [(*map(plain, c.cell), _said(c.rate), c.state) for c in drawn.cells], "")
    for each in drawn.inversions[:SHOWN]:
        if each.separated:
            easy, hard = _name(each.easy), _name(each.hard)
            click.echo(
                f"{easy} is easier than {hard} and worse: {_said(each.easy_rate)} against {_said(each.hard_rate)}"
            )
    if gated is not None:
        click.echo(
            f"answering in passing cells only: errors {_said(gated.errors_before)} become {_said(gated.errors_after)}, "
            f"covering {_said(gated.coverage)}; route the others elsewhere"
        )
    if live is not None:
        click.echo(f"live traffic: {_said(live.unmeasured)} in unmeasured cells, {_said(live.failing)} in failing ones")
    if unjudged:
        click.echo(f"{unjudged} rows have no score and are in no figure")
    raise SystemExit(int(failing))


@map_.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@_columns
@house_options
def diff(
    a: Path,
    b: Path,
    by: tuple[str, ...],
    score: str,
    item: str | None,
    cluster: str | None,
    good: float,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Tell which cells version B lost and gained against A.

    Exit code 1 when one is lost, whatever the average gained.
    """
    from watchkeeper.engines.experiments import maps
    from watchkeeper.engines.experiments.rows import TableError
    from watchkeeper.queries.registry import as_plain

    del data, config
    try:
        before, after = (maps.read_measured(path, by, score, item, cluster, good)[0] for path in (a, b))
        found = maps.changes(before, after)
    except (TableError, ValueError) as error:
        raise Failure(str(error), "map") from error
    lost = any(each.verdict == "lost" for each in found.cells)
    if as_json:
        print_json(as_plain(found))
        raise SystemExit(int(lost))
    rows = [
        (
            *map(plain, c.cell),
            _said(c.rate_a),
            _said(c.rate_b),
            "" if c.p_value is None else f"{c.p_value:.3g}",
            c.verdict,
        )
        for c in found.cells
    ]
    print_table((*by, "A", "B", "p (adjusted)", "verdict"), rows, "")
    if found.average is not None:
        click.echo(f"average change over the cells that both have: {found.average:+.3g}")
    raise SystemExit(int(lost))


def _orders(words: tuple[str, ...], by: tuple[str, ...]) -> dict[str, list[str]]:
    found = {}
    for word in words:
        name, _, values = word.partition("=")
        if name not in by or "," not in values:
            raise Failure(f"--order {word!r}: write COL=EASY,HARD with a column of --by.", "usage")
        found[name] = [value.strip() for value in values.split(",")]
    return found


def _name(cell: tuple[str, ...]) -> str:
    return " / ".join(map(plain, cell))


def _said(rate: Estimate | None) -> str:
    if rate is None or rate.n == 0:
        return "unmeasured"
    return f"{rate.value:.3g} ({rate.low:.3g} to {rate.high:.3g}, n = {rate.n})"
