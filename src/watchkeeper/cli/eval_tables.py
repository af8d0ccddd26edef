"""Commands over anybody's tables of scores: `eval summarize`, the file side of `eval compare`, and `eval power`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from watchkeeper.cli.eval_logs import scores_in
from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table
from watchkeeper.cli.piped import readable

if TYPE_CHECKING:
    from watchkeeper.analysis.planning import Goal, Kind
    from watchkeeper.analysis.variance_split import Split
    from watchkeeper.engines.experiments.contrasts import Compared, Contrast, How
    from watchkeeper.engines.experiments.summaries import Summary
    from watchkeeper.engines.experiments.tables import Columns, Scored

F = TypeVar("F", bound=Callable[..., Any])
_ITEM = "The column that names an item; several (repeated, or COL,COL) name it together."


def table_options(required: bool) -> Callable[[F], F]:
    """The options that say what the columns of a table mean."""

    def add(command: F) -> F:
        for option in (
            click.option(
                "--where",
                multiple=True,
                metavar="COL=VALUE",
                help="Only rows with this value (COL!=VALUE: without it; COL=: with none). Twice for a column: either.",
            ),
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
    """Mean, standard error and 95% interval of the scores in FILE (CSV, JSONL, Inspect log or -), for each group.

    Outcomes that are 0 or 1 get Wilson's interval, grades from 0 to 1 Wilson's at the size that they are worth, other
    scores Student's t, or the studentised bootstrap where they are skewed for their number; with --cluster, or when
    items repeat, it is cluster-robust. With --run, pass^k and pass@k are added. Rows without a score are counted and
    are in no figure. "Would show" is the smallest difference to another run over as many other items that would be
    found four times in five.
    """
    from watchkeeper.engines.experiments.summaries import summarize as sum_up
    from watchkeeper.engines.experiments.tables import TableError

    del data, config
    try:
        with readable(file) as path:
            found = sum_up(scores_in(path, columns_of(item, score, by, cluster, run, where)))
    except TableError as error:
        raise Failure(str(error), "table") from error
    if as_json:
        print_json(_plain(found))
        return
    rows = [_row(each) for each in found]
    print_table(("group", "n", "mean", "std. error", "95% interval", "would show", "missing", "method"), rows, "")
    # A table of many groups says once what is true of all.
    common = set.intersection(*(set(each.notes) for each in found)) if len(found) > 1 else set()
    for each in found:
        for k, estimate in each.pass_hat_k.items():
            low, high = f"{estimate.low:.3g}", f"{estimate.high:.3g}"
            click.echo(f"{shown(each.group)}: pass^{k} {estimate.value:.3g} ({low} to {high}, {estimate.n} items)")
        if each.variance is not None:
            click.echo(f"{shown(each.group)}: {_split_said(each.variance)}")
        for note in each.notes:
            if note not in common:
                click.echo(f"{shown(each.group)}: {note}")
    for note in found[0].notes:
        if note in common:
            click.echo(f"every group: {note}")


def _split_said(split: Split) -> str:
    share = split.items_share
    return (
        f"{share.value:.0%} ({share.low:.0%} to {share.high:.0%}) of the variance lies between items, the rest between "
        f"reruns; standard error {split.error_now:.3g}, with endless reruns {split.error_with_endless_reruns:.3g}, "
        f"with twice the items {split.error_with_twice_the_items:.3g}. What helps: more {split.more}."
    )


def contrast_options(command: F) -> F:
    """The options of a comparison of tables that a run's own files do not have."""
    for option in (
        click.option(
            "--adjust",
            type=click.Choice(["holm", "bh"]),
            default="holm",
            show_default=True,
            help="With several comparisons: hold the chance of any false claim (holm), or the share of false ones.",
        ),
        click.option(
            "--interval",
            type=click.Choice(["auto", "t", "bootstrap"]),
            default="auto",
            show_default=True,
            help="The interval of graded scores of a table; auto: by how many differ, and how skewed they are.",
        ),
        click.option("--slice", "slice_", metavar="COL", help="Compare in each value of this column of a table."),
        click.option("--unpaired", is_flag=True, help="The sides have other items: compare them as two samples."),
        click.option("--lower-is-better", is_flag=True, help="Less of the score is better: latency, cost, attacks."),
    ):
        command = option(command)
    return command


def compare_tables(
    files: Sequence[Path], columns: Columns, sides: tuple[str | None, str | None], how: How, as_json: bool
) -> int:
    """Compare two groups of a file, two files, or all pairs of groups, item by item; returns the exit code."""
    from watchkeeper.engines.experiments.contrasts import all_pairs, compare_groups, in_slices
    from watchkeeper.engines.experiments.tables import TableError

    if how.interval == "bootstrap" and find_spec("numpy") is None:
        raise Failure("--interval bootstrap needs numpy. Run: pip install 'watchkeeper[evals]'")
    names = (sides[0] or str(files[0]), sides[1] or str(files[-1]))
    try:
        with ExitStack() as opened:
            paths = [opened.enter_context(readable(file)) for file in files]
            if len(paths) == 1 and columns.by is not None and sides == (None, None):
                _tell_contrasts(all_pairs(scores_in(paths[0], columns), how), as_json)
                return 0  # which of a pair is A is the order of their names alone, so none of them has fallen
            a, b = _sides(paths, columns, sides)
        if columns.slice is not None:
            return _tell_contrasts(in_slices(a, b, how, names), as_json)
        found = compare_groups(a, b, how)
    except (TableError, ValueError) as error:
        raise Failure(str(error), "table") from error
    if as_json:
        print_json(_plain(found))
    else:
        _tell(found, names)
    return int(found.verdict == "worse")


def columns_of(
    item: Sequence[str],
    score: str,
    by: str | None,
    cluster: Sequence[str],
    run: str | None,
    where: Sequence[str],
    slice_: str | None = None,
) -> Columns:
    """The meaning of the columns, from the options; raises `Failure` for no item and a --where without a value."""
    from watchkeeper.engines.experiments.tables import Columns

    if not names_of(item):
        raise Failure("--item names no column. Name the one that tells items apart.")
    return Columns(
        item=names_of(item),
        score=score,
        by=by,
        cluster=names_of(cluster),
        run=run,
        slice=slice_,
        where=conditions(where),
    )


def names_of(words: Sequence[str]) -> tuple[str, ...]:
    """The columns of an option that is repeatable and takes COL,COL too."""
    return tuple(name.strip() for word in words for name in word.split(",") if name.strip())


def conditions(where: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The columns and values of --where; raises `Failure` for one without a value."""
    kept = []
    for word in where:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise Failure(f"--where {word!r} names no column and value; write COL=VALUE.")
        kept.append((name.strip(), value))
    return tuple(kept)


@click.command()
@click.option(
    "--kind",
    type=click.Choice(["independent", "paired", "graded"]),
    help="Two rates of other items; two rates of the same items; two means of the same items. [by what is given: "
    "--baseline, --discordance or --sd]",
)
@click.option(
    "--goal",
    type=click.Choice(["difference", "non-inferiority", "equivalence"]),
    default="difference",
    show_default=True,
    help="To find --effect; or to show that B is not worse, or not different, by --effect or more.",
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
    kind: str | None,
    goal: str,
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
            cast("Kind", kind or _kind(baseline, discordance, sd)),
            goal=cast("Goal", goal),
            effect=effect,
            n=n,
            baseline=baseline,
            discordance=discordance,
            sd=sd,
            inflation=inflation,
            cluster_size=cluster_size,
            alpha=alpha,
            power=wanted,
        )
    except ValueError as error:
        raise Failure(str(error), "bad_parameter") from error
    if as_json:
        print_json(_plain(planned))
        return
    per_side = " a side" if planned.kind == "independent" else ""
    effect_said = "no effect" if planned.effect is None else f"a difference of {planned.effect:.4g}"
    if goal != "difference" and planned.effect is not None:
        effect_said = f"{goal} within {planned.effect:.4g}"
    click.echo(
        f"{planned.n:,} items{per_side} show {effect_said} {wanted:.0%} of the time, at {alpha:.0%} false alarms "
        f"({planned.method}; design effect {inflation:.3g})."
    )
    for note in planned.notes:
        click.echo(note)
    if planned.power_of_exact_test is not None:
        click.echo(
            f"With so many the exact test of `eval compare` shows it {planned.power_of_exact_test:.0%} of the time; "
            f"{wanted:.0%} takes {planned.n_for_exact_test:,}."
        )


def _kind(baseline: float | None, discordance: float | None, sd: float | None) -> str:
    """The kind of plan that the given figure belongs to; "paired" where that does not tell."""
    given = [
        kind
        for kind, figure in (("independent", baseline), ("paired", discordance), ("graded", sd))
        if figure is not None
    ]
    return given[0] if len(given) == 1 else "paired"


def _sides(
    files: Sequence[Path], columns: Columns, sides: tuple[str | None, str | None]
) -> tuple[list[Scored], list[Scored]]:
    a, b = sides
    if len(files) == 2 and columns.by is None:
        return scores_in(files[0], columns), scores_in(files[1], columns)
    if columns.by is None or a is None or b is None:
        raise Failure(
            "One file is compared by a column: give --by COL --a NAME --b NAME, or name two files."
            if len(files) == 1
            else "Two files are the two sides, and --by names groups of each: say which with --a NAME --b NAME, or "
            "leave --by out. To compare in each part of a column, use --slice COL."
        )
    rows = scores_in(files[0], columns)
    return _group(rows, columns.by, a), _group(rows if len(files) == 1 else scores_in(files[1], columns), columns.by, b)


def _group(rows: Sequence[Scored], by: str, name: str) -> list[Scored]:
    """The rows of a group: those with its very name, else those whose name means the same, as 1.0 and 1 do."""
    from watchkeeper.engines.experiments.tables import alike

    known = sorted({row.group for row in rows})
    meant = {name} if name in known else {each for each in known if alike(each) == alike(name)}
    if not meant:
        shown = ", ".join(known[:20]) + (" ..." if len(known) > 20 else "")
        raise Failure(f"{by} is nowhere {name!r}; it is: {shown}.", "table")
    return [row for row in rows if row.group in meant]


def shown(name: str) -> str:
    """The name of a group or slice for a terminal, which may be no text at all."""
    return plain(name) or "(empty)"


def _row(each: Summary) -> tuple[object, ...]:
    mean = None if each.mean is None else f"{each.mean:.6g}"
    error = None if each.standard_error is None else f"{each.standard_error:.5g}"
    interval = f"{each.low:.4g} to {each.high:.4g}"
    mde = each.minimum_detectable_effect
    return shown(each.group), each.n, mean, error, interval, mde and f"{mde:.3g}", each.missing, each.method


def _tell(found: Compared, names: tuple[str, str]) -> None:
    mde = found.minimum_detectable_effect
    seen = "unknown" if mde is None else f"{mde:.3g} (4 times in 5)"
    difference = "unknown" if found.difference is None else f"{found.difference:+.4g}"
    changed = "" if found.improved is None else f" ({found.improved} better, {found.worsened} worse)"
    turned = " (less is better)" if found.lower_is_better else ""
    click.echo(f"{plain(names[1])} against {plain(names[0])}: {found.verdict}{turned}")
    click.echo(
        f"  B - A = {difference} (95% interval {found.low:+.4g} to {found.high:+.4g}), p = {found.p_value:.4g}, "
        f"{found.method}"
    )
    click.echo(
        f"  {found.n} items{changed}, mean {found.mean_a:.4g} to {found.mean_b:.4g}; "
        f"smallest difference this could have shown: {seen}"
    )
    for note in found.notes:
        click.echo(f"  {note}")


def _tell_contrasts(contrasts: Sequence[Contrast], as_json: bool) -> int:
    """Show several comparisons; returns the exit code."""
    if as_json:
        print_json([_flat(_plain(each)) for each in contrasts])
    else:
        rows = [
            (
                shown(each.b),
                shown(each.a),
                "" if each.slice is None else shown(each.slice),
                each.compared.n,
                None if each.compared.difference is None else f"{each.compared.difference:+.4g}",
                f"{each.compared.low:+.4g} to {each.compared.high:+.4g}",
                f"{each.adjusted_p_value:.3g}",
                each.compared.verdict,
                each.compared.minimum_detectable_effect and f"{each.compared.minimum_detectable_effect:.3g}",
            )
            for each in contrasts
        ]
        head = ("B", "A", "slice", "items", "B - A", "95% interval", "adjusted p", "verdict", "smallest to be seen")
        print_table(head, rows, "")
        for each in contrasts:
            for note in each.compared.notes:
                part = "" if each.slice is None else f", {shown(each.slice)}"
                click.echo(f"{shown(each.b)} against {shown(each.a)}{part}: {note}")
    return int(any(each.compared.verdict == "worse" for each in contrasts))


def _flat(told: dict[str, Any]) -> dict[str, Any]:
    inner = told.pop("compared")
    return {**told, **inner}


def _plain(value: Any) -> Any:
    from watchkeeper.queries.registry import as_plain

    return as_plain(value)
