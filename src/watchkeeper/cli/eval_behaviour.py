"""The command that tells how two versions differ in the shape of their replies, and whom that breaks."""

from __future__ import annotations

from pathlib import Path

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table

SHOWN = 12


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--consumers", type=click.Path(path_type=Path), help="A TOML file of what reads the replies.")
@click.option("--sunset", "with_plan", is_flag=True, help="Add a plan to retire A, by its users' depth of use.")
@click.option("--baseline", type=float, default=0.8, show_default=True, help="With --sunset: the users' signal now.")
@click.option("--drop", type=float, default=0.1, show_default=True, help="With --sunset: the drop to be seen.")
@house_options
def behaviour(
    a: Path,
    b: Path,
    consumers: Path | None,
    with_plan: bool,
    baseline: float,
    drop: float,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Tell how the replies in B differ in shape from those in A: files of `eval run --out` or `export --format jsonl`.

    Features that differ come first, ranked by effect size and by which consumers read them; of those reported one in
    twenty is expected to be false. Exit code 1 when a declared consumer reads less of B, 0 when none does.
    """
    from watchkeeper.engines.experiments.behaviours import behaviour as compare
    from watchkeeper.engines.experiments.behaviours import read_replies
    from watchkeeper.engines.experiments.consumers import ConsumerError, read_consumers
    from watchkeeper.engines.experiments.rows import TableError
    from watchkeeper.engines.experiments.sunset import sunset
    from watchkeeper.queries.registry import as_plain

    del data, config
    try:
        before, after = read_replies(a), read_replies(b)
        found = compare(before, after, () if consumers is None else read_consumers(consumers))
        plan = sunset(before, baseline, drop) if with_plan else None
    except (TableError, ConsumerError, ValueError) as error:
        raise Failure(str(error), "behaviour") from error
    broken = [each for each in found.consumers if each.verdict == "breaks"]
    if as_json:
        print_json({**as_plain(found), "sunset": None if plan is None else as_plain(plan)})
        raise SystemExit(int(bool(broken)))
    rows = [
        (each.feature, f"{each.shift.mean_a:.4g}", f"{each.shift.mean_b:.4g}", f"{each.shift.effect:+.2f}",
         f"{each.p_value:.3g}", ", ".join(map(plain, each.readers)))
        for each in found.differences if each.differs
    ]  # fmt: skip
    names = ("feature", "mean in A", "mean in B", "effect", "p (adjusted)", "read by")
    print_table(names, rows[:SHOWN], f"None of {len(found.differences)} features differs.")
    for each in found.consumers:
        click.echo(
            f"{plain(each.consumer)}: {each.verdict} (reads {each.read_a} of {each.n_a} in A, {each.read_b} of "
            f"{each.n_b} in B, p = {each.p_value:.3g})"
        )
    for stage in () if plan is None else plan.stages:
        told = "can tell" if stage.can_tell else f"cannot tell, needs {stage.users_needed}"
        click.echo(f"stage {stage.number}: {stage.share:.0%} of {stage.cohort}, {stage.users} users ({told})")
        click.echo(f"  {stage.stop_rule}; {stage.revert}")
    if plan is not None:
        click.echo(f"retire too: {', '.join(plan.retire_too)}; replies without a user: {plan.unnamed_replies}")
    raise SystemExit(int(bool(broken)))
