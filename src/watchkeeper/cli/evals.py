"""Commands for evals: run a suite, compare two runs item by item, list what was run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from watchkeeper.cli.eval_answers import answers
from watchkeeper.cli.eval_behaviour import behaviour
from watchkeeper.cli.eval_formats import formats
from watchkeeper.cli.eval_locales import locales
from watchkeeper.cli.eval_map import map_
from watchkeeper.cli.eval_migrate import migrate
from watchkeeper.cli.eval_mutants import mutants
from watchkeeper.cli.eval_overclaim import overclaim
from watchkeeper.cli.eval_prompt import prompt
from watchkeeper.cli.eval_properties import properties
from watchkeeper.cli.eval_publish import comment
from watchkeeper.cli.eval_run import run
from watchkeeper.cli.eval_sides import side
from watchkeeper.cli.eval_status import status
from watchkeeper.cli.eval_stress import stress
from watchkeeper.cli.eval_tables import columns_of, compare_tables, contrast_options, power, summarize, table_options
from watchkeeper.cli.options import Failure, house_options, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.analysis.paired import Interval
    from watchkeeper.engines.experiments.compare import Compared

SHOWN_CASES = 20
PAGE = 10_000


@click.group("eval")
def eval_() -> None:
    """Run suites of cases and compare them, item by item."""


eval_.add_command(run)
eval_.add_command(prompt)
eval_.add_command(migrate)
eval_.add_command(formats)
eval_.add_command(comment)
eval_.add_command(properties)
eval_.add_command(status)
eval_.add_command(answers)
eval_.add_command(summarize)
eval_.add_command(power)
eval_.add_command(overclaim)
eval_.add_command(map_)
eval_.add_command(behaviour)
eval_.add_command(locales)
eval_.add_command(mutants)
eval_.add_command(stress)


@eval_.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="[B]", required=False)
@table_options(required=False)
@contrast_options
@click.option("--a", "side_a", metavar="NAME", help="With --by: the group that is A.")
@click.option("--b", "side_b", metavar="NAME", help="With --by: the group that is B.")
@click.option("--margin", type=float, help="The difference that does not matter, in units of the score.")
@house_options
def compare(
    a: str,
    b: str | None,
    item: tuple[str, ...],
    score: str | None,
    by: str | None,
    cluster: tuple[str, ...],
    run: str | None,
    where: tuple[str, ...],
    slice_: str | None,
    unpaired: bool,
    lower_is_better: bool,
    interval: str,
    adjust: str,
    side_a: str | None,
    side_b: str | None,
    margin: float | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Compare the runs A and B, each an experiment's id, a file of `eval run --out` or an Inspect log, case by case.

    With --item and --score A and B are anybody's tables of scores (CSV or JSONL, gzip too), or A alone is, whose groups
    --a and --b of --by are compared; without --a and --b all pairs are, with p-values adjusted for their number. Exit
    code 1 when a score is worse in B, 0 when none is, 2 when they cannot be compared.
    """
    from watchkeeper.engines.experiments.compare import NotComparable, compare_sides
    from watchkeeper.engines.experiments.contrasts import How
    from watchkeeper.engines.experiments.dataset import SuiteError

    if item or score is not None:
        if not item or score is None:
            raise Failure("tables of scores need both --item COL and --score COL.", "not_comparable")
        columns = columns_of(item, score, by, cluster, run, where, slice_)
        files = [Path(word) for word in (a, b) if word is not None]
        chosen = cast("Interval", interval)
        how = How(margin=margin, interval=chosen, lower_is_better=lower_is_better, adjust=adjust, unpaired=unpaired)
        raise SystemExit(compare_tables(files, columns, (side_a, side_b), how, as_json))
    if b is None:
        raise Failure("name two runs to compare, or the columns of a table with --item and --score.", "not_comparable")
    try:
        sides = side(a, config, data), side(b, config, data)
        compared = compare_sides(*sides, margin)
    except (SuiteError, NotComparable, ValueError) as error:
        raise Failure(str(error), "not_comparable") from error
    if as_json:
        from watchkeeper.queries.registry import as_plain

        print_json({"a": a, "b": b, "scores": as_plain(compared)})
    else:
        for each in compared:
            _tell_compared(each)
    raise SystemExit(int(any(each.comparison.verdict == "worse" for each in compared)))


@eval_.command("list")
@click.option("--suite", help="Only runs of this suite.")
@house_options
def list_(suite: str | None, data: str | None, config: Path | None, as_json: bool) -> None:
    """List what was run, newest first, with the means of the scores."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        answer = door.ask("experiments", {"suite": suite})
    if as_json:
        print_json(answer)
        return
    rows = [
        (
            row["experiment_id"],
            row["suite"],
            row["target"],
            row["cases"],
            row["errors"] if row["end_ns"] is not None else "not finished",
            ", ".join(f"{name} {_mean(estimate)}" for name, estimate in (row["summary"] or {}).items()),
        )
        for row in answer["items"]
    ]
    print_table(("id", "suite", "target", "cases", "errors", "means"), rows, "No suite was run yet.")


def _tell_compared(each: Compared) -> None:
    found = each.comparison
    difference = found.difference
    mde = found.minimum_detectable_effect
    seen = "unknown" if mde is None else f"{mde:.3g} (4 times in 5)"
    adjusted = ""
    if each.adjusted_p_value is not None and each.adjusted_p_value != found.p_value:
        adjusted = f" (adjusted for all scores: {each.adjusted_p_value:.3g})"
    click.echo(f"{each.score} ({' '.join(filter(None, (each.scorer, each.version)))}): {found.verdict}")
    click.echo(
        f"  B - A = {difference.value:+.3g} ({difference.confidence:.0%} interval {difference.low:+.3g} to "
        f"{difference.high:+.3g}), p = {found.p_value:.3g}{adjusted}, {found.method}"
    )
    click.echo(
        f"  paired cases: {found.n} ({found.improved} better, {found.worsened} worse), mean {found.mean_a:.3g} to "
        f"{found.mean_b:.3g}; smallest difference this could have shown: {seen}"
        + (f"; margin {found.margin:g}" if found.margin is not None else "")
    )
    for which, names in (("A", each.only_a), ("B", each.only_b)):
        if names:
            more = f" and {len(names) - SHOWN_CASES} more" if len(names) > SHOWN_CASES else ""
            click.echo(f"  scored in {which} only: {', '.join(names[:SHOWN_CASES])}{more}")


def _mean(estimate: Any) -> str:
    return "unknown" if estimate["value"] is None else f"{estimate['value']:.3g}"
