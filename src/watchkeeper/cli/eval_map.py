"""Commands for capability maps: what a version can do, cell by cell, and what it can no longer do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.engines.experiments.maps import Gate, Traffic
    from watchkeeper.records.capability_map import CapabilityMap
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
@click.option(
    "--composition", "digests", multiple=True, metavar="DIGEST", help="What answered, where FILE does not say."
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the map, for the policy `frontier`.")
@click.option("--html", type=click.Path(path_type=Path), help="Write the map as a page of its own, too.")
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
    digests: tuple[str, ...],
    out: Path | None,
    html: Path | None,
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

    try:
        read = maps.read_measured(file, by, score, item, cluster, good)
        drawn = maps.draw(read.measured, by, bar, _orders(orders, by), read.unjudged)
        gated = (
            None
            if held is None
            else maps.gate(drawn, maps.read_measured(held, by, score, item, cluster, good).measured)
        )
        live = None if traffic is None else maps.traffic(drawn, maps.read_cells(traffic, by))
    except (TableError, ValueError) as error:
        raise Failure(str(error), "map") from error
    if out is not None or html is not None:
        drawn = _sealed(drawn, score, (*read.compositions, *digests), config, data)
    if out is not None:
        from watchkeeper.records.record import as_json as encoded

        _write(out, encoded(drawn), f"map {drawn.digest[:12]}")
    if html is not None:
        from watchkeeper.engines.experiments.map_page import page
        from watchkeeper.server.html_report import render_document

        document = page(drawn, gated, live, f"{score} of {file.name}", drawn.at_ns)
        _write(html, render_document(document).encode(), "page")
    _tell(drawn, gated, live, as_json)
    raise SystemExit(int(any(each.state == "failing" for each in drawn.cells)))


@map_.command()
@click.argument("file", metavar="MAP", type=click.Path(path_type=Path))
@click.argument("traffic", type=click.Path(path_type=Path))
@house_options
def share(file: Path, traffic: Path, data: str | None, config: Path | None, as_json: bool) -> None:
    """Tell which share of the calls in TRAFFIC lies in cells of each state of MAP, a file of `eval map draw --out`.

    TRAFFIC are JSON lines or CSV with the map's columns, for example a file of `export --format jsonl`. Calls are
    placed as the policy `frontier` places them.
    """
    import msgspec

    from watchkeeper.engines.experiments import maps
    from watchkeeper.engines.experiments.rows import TableError
    from watchkeeper.queries.registry import as_plain
    from watchkeeper.records.capability_map import CapabilityMap

    del data, config
    try:
        drawn = msgspec.json.decode(file.read_bytes(), type=CapabilityMap)
        live = maps.traffic(drawn, maps.read_cells(traffic, drawn.columns))
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}. Name a map of `eval map draw --out`.") from error
    except msgspec.DecodeError as error:
        raise Failure(f"{file} is no map: {error}. Name one of `eval map draw --out`.", "map") from error
    except TableError as error:
        raise Failure(str(error), "map") from error
    if as_json:
        print_json(as_plain(live))
        return
    print_table((*drawn.columns, "state", "calls"), [(*map(plain, key), *rest) for key, *rest in live.busiest], "")
    _tell_traffic(live)


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
        before, after = (maps.read_measured(path, by, score, item, cluster, good).measured for path in (a, b))
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


def _sealed(
    drawn: CapabilityMap, score: str, digests: tuple[str, ...], config: Path | None, data: str | None
) -> CapabilityMap:
    """The map with the compositions that the record knows; says where a policy will find it stale."""
    import time

    from watchkeeper.cli.eval_publish import manifests
    from watchkeeper.engines.experiments.maps import sealed
    from watchkeeper.engines.recorder.home import HomeError
    from watchkeeper.records.manifest import Manifest

    named = list(dict.fromkeys(digests))
    try:
        recorded = manifests(named, config, data)
    except HomeError:  # there is no record here, and so none that knows them
        recorded = [None for _ in named]
    found = [known or Manifest(digest=name, components={}) for name, known in zip(named, recorded, strict=True)]
    if len(named) > 1:
        click.echo(f"{len(named)} compositions gave these answers; their rates are of all of them together.", err=True)
    if not named:
        click.echo("These answers do not say which composition gave them: a route takes the map as stale.", err=True)
    elif unknown := [each.digest[:12] for each in found if not each.components]:
        click.echo(
            f"The record does not know the composition {', '.join(unknown)}, so a route can tell only whether it is "
            "the very same. Name the gateway's data directory with --data.",
            err=True,
        )
    return sealed(drawn, score, found, time.time_ns())


def _write(path: Path, content: bytes, what: str) -> None:
    draft = path.with_name(path.name + ".new")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}. Name a place that you may write to.") from error
    click.echo(f"Wrote the {what} to {path}.", err=True)


def _tell(drawn: CapabilityMap, gated: Gate | None, live: Traffic | None, as_json: bool) -> None:
    from watchkeeper.queries.registry import as_plain

    if as_json:
        told = {"gate": None if gated is None else as_plain(gated), "traffic": None if live is None else as_plain(live)}
        print_json({**as_plain(drawn), **told})
        return
    rows = [(*map(plain, c.cell), _said(c.rate), c.state) for c in drawn.cells]
    print_table((*drawn.columns, "rate", "state"), rows, "")
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
        _tell_traffic(live)
    if drawn.unjudged:
        click.echo(f"{drawn.unjudged} rows have no score and are in no figure")


def _tell_traffic(live: Traffic) -> None:
    click.echo(f"live traffic: {_said(live.unmeasured)} in unmeasured cells, {_said(live.failing)} in failing ones")


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
    from watchkeeper.engines.experiments.map_page import said

    return said(rate)
