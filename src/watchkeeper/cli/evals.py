"""Commands for evals: run a suite, compare two runs item by item, list what was run."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from watchkeeper.cli.eval_tables import contrast_options, table_options
from watchkeeper.cli.options import Failure, house_options, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.analysis.paired import Interval
    from watchkeeper.engines.experiments.compare import Compared

SHOWN_CASES = 20
PAGE = 10_000


COMMANDS: dict[str, tuple[str, str]] = {
    "answers": ("eval_answers", "answers"),
    "behaviour": ("eval_behaviour", "behaviour"),
    "comment": ("eval_publish", "comment"),
    "formats": ("eval_formats", "formats"),
    "gate": ("eval_gate", "gate"),
    "locales": ("eval_locales", "locales"),
    "map": ("eval_map", "map_"),
    "migrate": ("eval_migrate", "migrate"),
    "mutants": ("eval_mutants", "mutants"),
    "overclaim": ("eval_overclaim", "overclaim"),
    "power": ("eval_tables", "power"),
    "prompt": ("eval_prompt", "prompt"),
    "properties": ("eval_properties", "properties"),
    "resume": ("eval_resume", "resume"),
    "run": ("eval_run", "run"),
    "status": ("eval_status", "status"),
    "stress": ("eval_stress", "stress"),
    "summarize": ("eval_tables", "summarize"),
    "sunset": ("eval_sunset", "sunset"),
}
"""Each command's module and name there: only the one that is named is loaded, for a run starts often."""


class EvalGroup(click.Group):
    """A group that loads a command when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return sorted({*COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command, from its module."""
        if cmd_name in COMMANDS:
            module, name = COMMANDS[cmd_name]
            command: click.Command = getattr(importlib.import_module(f"watchkeeper.cli.{module}"), name)
            return command
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named; a name that is none comes with the one that may be meant."""
        names = self.list_commands(ctx)
        near = difflib.get_close_matches(args[0], names, n=1)
        if args[0] not in names and near:
            ctx.fail(f"there is no `eval {args[0]}`; did you mean `eval {near[0]}`?")
        return super().resolve_command(ctx, args)


@click.group("eval", cls=EvalGroup)
def eval_() -> None:
    """Run suites of cases and compare them, item by item."""


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
    code 1 when a score is worse in B, 0 when none is or no B was named, 2 when they cannot be compared.
    """
    from watchkeeper.cli.eval_sides import side
    from watchkeeper.cli.eval_tables import columns_of, compare_tables
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
