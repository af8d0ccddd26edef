"""The command that tells how two versions differ in the shape of their replies, and whom that breaks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.eval_replies import replies_of, traffic_options
from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.analysis.behaviour import Behaviour, Told
    from watchkeeper.engines.experiments.sunset import Plan

SHOWN = 12


@click.command()
@click.argument("a")
@click.argument("b")
@traffic_options
@click.option("--consumers", type=click.Path(path_type=Path), help="A TOML file of what reads the replies.")
@click.option("--sunset", "with_plan", is_flag=True, help="Add a plan to retire A, by its users' depth of use.")
@click.option("--baseline", type=float, default=0.8, show_default=True, help="With --sunset: the users' signal now.")
@click.option("--drop", type=float, default=0.1, show_default=True, help="With --sunset: the drop to be seen.")
@house_options
def behaviour(
    a: str,
    b: str,
    consumers: Path | None,
    with_plan: bool,
    baseline: float,
    drop: float,
    data: str | None,
    config: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Tell how the replies of B differ in shape from those of A.

    A and B are each a file (of `eval run --out` or `export --format jsonl`, or JSON lines with `output`), the id of an
    experiment whose answers are kept, or recorded traffic: manifest:DIGEST, model:NAME, release:VERSION or
    attribute:KEY=VALUE, with --since, --until and --calls.

    Features that differ come first, ranked by effect size and by which consumers read them; of those reported one in
    twenty is expected to be false. Exit code 1 when a consumer reads less of B, 0 when none does.
    """
    from watchkeeper.analysis.behaviour import behaviour as compare
    from watchkeeper.engines.experiments.behaviours import ConsumerError, read_consumers
    from watchkeeper.engines.experiments.rows import TableError
    from watchkeeper.queries.registry import as_plain

    try:
        read_by = () if consumers is None else read_consumers(consumers)
        before, after = (replies_of(word, config, data, chosen) for word in (a, b))
        found = compare(before, after, read_by)
        plan = _plan(a, b, before, baseline, drop) if with_plan else None
    except (TableError, ConsumerError, ValueError) as error:
        raise Failure(str(error), "behaviour") from error
    if as_json:
        print_json({**as_plain(found), "sunset": None if plan is None else as_plain(plan)})
    else:
        _tell(found)
        if plan is not None:
            from watchkeeper.cli.eval_sunset import tell_plan

            tell_plan(plan)
    raise SystemExit(int(any(each.verdict == "breaks" for each in found.consumers)))


def _plan(a: str, b: str, before: list[Told], baseline: float, drop: float) -> Plan:
    """A plan from replies alone: nothing is known of scores and attached things."""
    from watchkeeper.engines.experiments.exposure import uses_in
    from watchkeeper.engines.experiments.sunset import Wanted, sunset

    known = [each.at_ns for each in before if each.at_ns is not None]
    since, until = (min(known), max(known) + 1) if known else (0, time.time_ns())
    wanted = Wanted(old=a, new=b, since_ns=since, until_ns=until, baseline=baseline, drop=drop)
    return sunset(wanted, uses_in(before), unnamed_calls=sum(each.user is None for each in before))


def _tell(found: Behaviour) -> None:
    if not found.resolved:
        click.echo(
            f"Not resolved: {found.units_a} independent replies in A and {found.units_b} in B are too few; it takes at "
            "least 8 on each side."
        )
    rows = [
        (each.feature, f"{each.shift.mean_a:.4g}", f"{each.shift.mean_b:.4g}", f"{each.shift.effect:+.2f}",
         f"{each.interval.low:+.2f} to {each.interval.high:+.2f}", f"{each.p_value:.3g}", ", ".join(each.readers))
        for each in found.differences if each.differs
    ]  # fmt: skip
    names = ("feature", "mean in A", "mean in B", "effect", "interval", "p (adjusted)", "read by")
    none = (
        f"None of {len(found.differences)} features differs; an effect of {found.smallest:.2f} in one alone would have "
        "been seen four times in five."
    )
    if found.resolved:
        print_table(names, rows[:SHOWN], none)
    for each in found.consumers:
        known = "seen in traces: " if each.seen else ""
        click.echo(
            plain(
                f"{each.consumer}: {each.verdict} ({known}reads {each.read_a} of {each.n_a} in A, {each.read_b} of "
                f"{each.n_b} in B, p = {each.p_value:.3g})"
            )
        )
