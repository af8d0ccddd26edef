"""The command that measures what an output format costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.eval_asking import MEASURED_ON, interval, load_asked, on_bench, result_price
from watchkeeper.cli.eval_options import asking_options
from watchkeeper.cli.eval_prompt import MARGIN, SCORE, margin_of
from watchkeeper.cli.eval_run import UNRESOLVED, require_scorers
from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.engines.experiments.arms import Bench
    from watchkeeper.engines.experiments.formats import FormatTax, Tax


@click.command()
@click.argument("suite", type=click.Path(path_type=Path))
@click.option(
    "--task", metavar="ATTR", help="An attribute of the cases that names their task; each has its own advice."
)
@click.option("--repeats", type=click.IntRange(1, 100), help="Answers to each case and form [the suite's].")
@click.option(
    "--masked",
    is_flag=True,
    help="Ask for log-probabilities too, and tell what each form's mask took away. Some endpoints refuse that.",
)
@SCORE
@MARGIN
@asking_options
@house_options
def formats(
    suite: Path,
    task: str | None,
    repeats: int | None,
    masked: bool,
    data: str | None,
    config: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Ask SUITE as free text, in JSON mode, with a strict schema, in two passes and reasoning first; compare, by task.

    Every form is compared with free text over the same cases. Exit code 0 when every task has a recommendation, 3 when
    one is not resolved, 2 when the suite cannot be used.
    """
    loaded, settings = load_asked(suite, config, data)
    require_scorers(loaded)
    margin = margin_of(loaded, chosen)
    api = loaded.suite.target.api if loaded.suite.target is not None else "openai"
    if api != "openai":
        raise Failure(
            f"`target.api` is {api!r}, and the forms are those of `response_format`. Ask through an OpenAI-style "
            "endpoint (the gateway has one), or leave it out.",
            "suite",
        )

    async def work(bench: Bench) -> FormatTax:
        from watchkeeper.engines.experiments.arms import score_of
        from watchkeeper.engines.experiments.formats import ask_forms, format_tax
        from watchkeeper.engines.experiments.migration import slices_of

        score, tasks = score_of(bench.plan, chosen["score"]), slices_of(bench.plan.cases, task)
        answers = await ask_forms(bench, repeats or loaded.suite.repeats, masked)
        return format_tax(answers, tasks, score, margin, result_price(settings), not bench.kept)

    found = on_bench(loaded, settings, chosen, work)
    if as_json:
        from watchkeeper.queries.registry import as_plain

        print_json({**as_plain(found), "measured_on": MEASURED_ON})
    else:
        rows = [_cells(row) for row in found.rows]
        names = (
            "task",
            "form",
            "n",
            found.score,
            "against free text",
            "verdict",
            "valid",
            "masked",
            "tokens out",
            "latency s",
            "$",
        )
        print_table(names, rows, "No case was answered.")
        for each in found.advice:
            click.echo(plain(f"{each.task}: {each.form or 'not resolved'}. {each.sentence}"))
        _tell_masks(found, masked)
        failed = sum(row.failed for row in found.rows)
        if failed:
            click.echo(f"{failed} calls failed and have no score; their cases are left out where they did.")
        click.echo(MEASURED_ON)
    raise SystemExit(UNRESOLVED if any(each.form is None for each in found.advice) else 0)


def _cells(row: Tax) -> tuple[Any, ...]:
    return (
        row.task,
        row.form,
        row.n,
        None if row.accuracy is None else f"{row.accuracy.value:.3g}",
        None if row.effect is None else interval(row.effect),
        row.verdict,
        f"{row.valid.value:.1%} ({row.valid.low:.1%} to {row.valid.high:.1%})",
        _masked(row),
        row.output_tokens,
        row.latency_s,
        row.usd,
    )


def _masked(row: Tax) -> str | None:
    if row.masked is None:
        return None
    least = "" if row.masked_exact else "at least "
    return f"{least}{row.masked.value:.1%} ({row.masked.low:.1%} to {row.masked.high:.1%})"


def _tell_masks(found: FormatTax, asked: bool) -> None:
    """What the masks took, and whether more was lost where they took more."""
    if not any(row.masked for row in found.rows):
        why = "the replies carried none that tell it" if asked else "they are asked for with --masked"
        click.echo(f"Masked: not measured. It needs log-probabilities, and {why}.")
        return
    for row in found.rows:
        if row.early_sign is not None:
            sign = "the two go together" if row.early_sign.low > 0 else "not shown to go together"
            lost = f"{interval(row.early_sign)} more of {found.score} was lost"
            told = f"{row.task}, {row.form}: where more was masked {lost} than in the other half of the cases: {sign}."
            click.echo(plain(told))
