"""Commands over anybody's tables of scores: `eval summarize`, the file side of `eval compare`, and `eval power`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.analysis.planning import Kind
    from watchkeeper.engines.experiments.summaries import Compared, Summary
    from watchkeeper.engines.experiments.tables import Columns, Scored

F = TypeVar("F", bound=Callable[..., Any])
_ITEM = "The column that names an item; several (repeated, or COL,COL) name it together."


def table_options(required: bool) -> Callable[[F], F]:
    """The options that say what the columns of a table mean."""

    def add(command: F) -> F:
        for option in (
            click.option("--where", multiple=True, metavar="COL=VALUE", help="Only rows with this value; repeatable."),
            click.option("--run", metavar="COL", help="The column that tells reruns of an item apart."),
            click.option("--cluster", multiple=True, metavar="COL", help="Items of one cluster hang together."),
            click.option("--by", metavar="COL", help="The column whose values are the groups."),
            click.option("--score", metavar="COL", required=required, help="The column with the scores."),
            click.option(
                "--item",
                multiple=True,
                metavar="COL",
                required=required,
                help="What names an item; repeatable, or COL,COL.",
            ),
        ):
            command = option(command)
        return command

    return add


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@table_options(required=True)
@house_options
def summarize(
    file: Path,
    item: tuple[str, ...],
    score: str,
    by: str | None,
    cluster: tuple[str, ...],
    run: str | None,
    where: tuple[str, ...],
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Mean, standard error and 95% interval of the scores in FILE (CSV or JSONL, gzip too), for each group.

    Outcomes that are 0 or 1 get Wilson's interval, other scores Student's t; with --cluster, or when items repeat, both
    are cluster-robust. With --run, pass^k is added. Rows without a score are counted and are in no figure.
    """
    from watchkeeper.engines.experiments.summaries import summarize as sum_up
    from watchkeeper.engines.experiments.tables import TableError, read_scores

    del data, config
    try:
        found = sum_up(read_scores(file, columns_of(item, score, by, cluster, run, where)))
    except TableError as error:
        raise Failure(str(error), "table") from error
    if as_json:
        print_json(_plain(found))
        return
    rows = [_row(each) for each in found]
    print_table(("group", "n", "mean", "std. error", "95% interval", "missing", "method"), rows, "")
    for each in found:
        for k, estimate in each.pass_hat_k.items():
            low, high = f"{estimate.low:.3g}", f"{estimate.high:.3g}"
            click.echo(f"{plain(each.group)}: pass^{k} {estimate.value:.3g} ({low} to {high}, {estimate.n} items)")
        for note in each.notes:
            click.echo(f"{plain(each.group)}: {note}")


def compare_tables(
    files: Sequence[Path], columns: Columns, sides: tuple[str | None, str | None], margin: float | None, as_json: bool
) -> int:
    """Compare two groups of a file, or two files, item by item; returns the exit code."""
    from watchkeeper.engines.experiments.summaries import compare_groups
    from watchkeeper.engines.experiments.tables import TableError

    try:
        a, b = _sides(files, columns, sides)
        found = compare_groups(a, b, margin)
    except (TableError, ValueError) as error:
        raise Failure(str(error), "table") from error
    if as_json:
        print_json(_plain(found))
    else:
        _tell(found, (sides[0] or str(files[0]), sides[1] or str(files[-1])))
    return int(found.verdict == "worse")


def columns_of(
    item: Sequence[str], score: str, by: str | None, cluster: Sequence[str], run: str | None, where: Sequence[str]
) -> Columns:
    """The meaning of the columns, from the options; raises `Failure` for a --where without a value."""
    from watchkeeper.engines.experiments.tables import Columns

    kept = []
    for word in where:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise Failure(f"--where {word!r} names no value; write COL=VALUE.")
        kept.append((name, value))
    return Columns(
        item=tuple(name for word in item for name in word.split(",")),
        score=score,
        by=by,
        cluster=tuple(name for word in cluster for name in word.split(",")),
        run=run,
        where=tuple(kept),
    )


@click.command()
@click.option(
    "--kind",
    type=click.Choice(["independent", "paired", "graded"]),
    default="paired",
    show_default=True,
    help="Two rates of other items; two rates of the same items; two means of the same items.",
)
@click.option("--effect", type=float, help="The difference to find; leave out to learn what --n can find.")
@click.option("--n", "n", type=click.IntRange(1), help="Items (a side, when independent); leave out to learn how many.")
@click.option("--baseline", type=float, help="The rate of the first side (independent).")
@click.option("--discordance", type=float, help="The share of items that end differently (paired).")
@click.option("--sd", type=float, help="The standard deviation of the differences (graded).")
@click.option("--cluster-size", type=float, default=1.0, show_default=True, help="Items in a cluster, on average.")
@click.option("--icc", type=float, default=0.0, show_default=True, help="How alike items of a cluster are, 0 to 1.")
@click.option("--alpha", type=float, default=0.05, show_default=True, help="The rate of false alarms.")
@click.option("--power", "wanted", type=float, default=0.8, show_default=True, help="The chance to find the effect.")
@house_options
def power(
    kind: str,
    effect: float | None,
    n: int | None,
    baseline: float | None,
    discordance: float | None,
    sd: float | None,
    cluster_size: float,
    icc: float,
    alpha: float,
    wanted: float,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Plan an eval: how many items an effect takes, or which effect so many items show.

    Clusters multiply the items by the design effect 1 + (size - 1) x icc (Kish, 1965).
    """
    from watchkeeper.analysis.planning import design_effect, plan

    del data, config
    try:
        inflation = design_effect(cluster_size, icc)
        planned = plan(
            cast("Kind", kind),
            effect=effect,
            n=n,
            baseline=baseline,
            discordance=discordance,
            sd=sd,
            inflation=inflation,
            alpha=alpha,
            power=wanted,
        )
    except ValueError as error:
        raise Failure(str(error), "bad_parameter") from error
    if as_json:
        print_json(_plain(planned))
        return
    per_side = " a side" if kind == "independent" else ""
    effect_said = "no effect" if planned.effect is None else f"a difference of {planned.effect:.4g}"
    click.echo(
        f"{planned.n:,} items{per_side} show {effect_said} {wanted:.0%} of the time, at {alpha:.0%} false alarms "
        f"({planned.method}; design effect {inflation:.3g})."
    )


def _sides(
    files: Sequence[Path], columns: Columns, sides: tuple[str | None, str | None]
) -> tuple[list[Scored], list[Scored]]:
    from watchkeeper.engines.experiments.tables import read_scores

    if len(files) == 2:
        return read_scores(files[0], columns), read_scores(files[1], columns)
    a, b = sides
    if columns.by is None or a is None or b is None:
        raise Failure("One file is compared by a column: give --by COL --a NAME --b NAME, or name two files.")
    rows = read_scores(files[0], columns)
    known = sorted({row.group for row in rows})
    for name in (a, b):
        if name not in known:
            shown = ", ".join(known[:20]) + (" ..." if len(known) > 20 else "")
            raise Failure(f"{columns.by} is nowhere {name!r}; it is: {shown}.", "table")
    return [row for row in rows if row.group == a], [row for row in rows if row.group == b]


def _row(each: Summary) -> tuple[object, ...]:
    mean = None if each.mean is None else round(each.mean, 6)
    error = None if each.standard_error is None else round(each.standard_error, 6)
    interval = f"{each.low:.4g} to {each.high:.4g}"
    return each.group, each.n, mean, error, interval, each.missing, each.method


def _tell(found: Compared, names: tuple[str, str]) -> None:
    mde = found.minimum_detectable_effect
    seen = "unknown" if mde is None else f"{mde:.3g} (4 times in 5)"
    difference = "unknown" if found.difference is None else f"{found.difference:+.4g}"
    click.echo(f"{plain(names[1])} against {plain(names[0])}: {found.verdict}")
    click.echo(
        f"  B - A = {difference} (95% interval {found.low:+.4g} to {found.high:+.4g}), p = {found.p_value:.4g}, "
        f"{found.method}"
    )
    click.echo(
        f"  {found.n} items ({found.improved} better, {found.worsened} worse), mean {found.mean_a:.4g} to "
        f"{found.mean_b:.4g}; smallest difference this could have shown: {seen}"
    )
    for note in found.notes:
        click.echo(f"  {note}")


def _plain(value: Any) -> Any:
    from watchkeeper.queries.registry import as_plain

    return as_plain(value)
