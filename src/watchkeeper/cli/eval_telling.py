"""Tells a run of a suite to whoever waits for it: how far it is, and what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from watchkeeper.cli.options import print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.engines.experiments.asking import Asker
    from watchkeeper.engines.experiments.results import Before, Outcome, Result
    from watchkeeper.engines.experiments.runner import Plan

LINES_EVERY_S = 10.0


class Ran(NamedTuple):
    """A run that has ended: what came of it, what was asked for it, what its gates ruled, and whether it can go on."""

    outcome: Outcome
    told: Any
    ruled: list[Any]
    left: bool = False


class RunProgress:
    """A bar on a terminal, a line now and then elsewhere, both on standard error."""

    def __init__(self, stack: AsyncExitStack, plan: Plan, ask: Asker, before: Before | None = None) -> None:
        self._ask, self._all, self._errors = ask, len(plan.cases) * plan.repeats, 0
        self._came = 0 if before is None else sum(result.error is None for result in before.results)
        self._bar: Callable[[], object] | None = None
        self._said_s = 0.0
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
            task = bar.add_task(plan.suite, total=self._all, completed=self._came)
            self._bar = lambda: bar.advance(task)

    def __call__(self, result: Result) -> None:
        import time

        self._came += 1
        self._errors += result.error is not None
        if self._bar is not None:
            self._bar()
            return
        now = time.monotonic()
        self._said_s = self._said_s or now
        if now - self._said_s >= LINES_EVERY_S:
            self._said_s = now
            click.echo(
                f"{self._came} of {self._all} answers, {self._ask.told.kept} of them kept from before, "
                f"{self._errors} calls failed, ${self._ask.told.spent_usd:.4g} spent",
                err=True,
            )


def tell_run(ran: Ran, out: Path | str | None, as_json: bool) -> None:
    """Say what came of a run, as JSON or in words; `out` is the file that its answers went to."""
    from watchkeeper.engines.experiments.missing import bounds_of

    if not as_json:
        _tell_in_words(ran)
        return
    from watchkeeper.queries.registry import as_plain

    outcome = ran.outcome
    print_json(
        {
            "schema": "watchkeeper.eval.run/1",
            **as_plain(outcome.experiment),
            "answered": len(outcome.results),
            "planned": outcome.planned,
            "stopped": outcome.stopped,
            "ended_by": outcome.ended_by,
            "why": outcome.why,
            "unscored": outcome.unscored,
            "bounds": as_plain(bounds_of(outcome)),
            "asked": as_plain(ran.told),
            "gates": as_plain(ran.ruled),
            "resumable": ran.left,
            "out": None if out is None else str(out),
        }
    )


def _tell_in_words(ran: Ran) -> None:
    from watchkeeper.engines.experiments.missing import bounds_of
    from watchkeeper.engines.experiments.missing import told as bounds_told

    outcome, told, ruled, _ = ran
    experiment = outcome.experiment
    if outcome.stopped:
        known = {"cap": "a cap was reached", "verdict": "the verdict is known", "refused": "the target refuses"}
        why = known.get(outcome.ended_by, "stopped")
        click.echo(f"{len(outcome.results)} of {outcome.planned} answers ({why}); the means are over those.")
    if outcome.why is not None:
        click.echo(outcome.why)
    click.echo(f"{experiment.experiment_id}: {experiment.suite} against {experiment.target}")
    rows = [
        (name, f"{each.value:.3g}", f"{each.low:.3g} to {each.high:.3g}", each.n, each.method)
        for name, each in experiment.summary.items()
    ]
    print_table(("score", "mean", "95% interval", "n", "method"), rows, "No answer could be judged.")
    spent = "unknown" if experiment.spent_usd is None else f"${experiment.spent_usd:.4g}"
    kept = f", {told.kept} of them kept from before" if told.kept else ""
    click.echo(
        f"{experiment.cases} cases, {len(outcome.results)} answers{kept}, {experiment.errors} calls failed, "
        f"{outcome.unscored} judgments without a value (counted in no mean); all answers together cost {spent}."
    )
    for bounds in bounds_of(outcome):
        click.echo(bounds_told(bounds))
    for each in ruled:
        state = {True: "passed", False: "failed", None: "not resolved"}[each.passed]
        click.echo(f"{each.gate}: {state}. {each.sentence}")
    _tell_firsts(outcome)


def _tell_firsts(outcome: Outcome) -> None:
    """The first of what went wrong, on standard error."""
    failed = next((result.error for result in outcome.results if result.error is not None), None)
    if failed is not None:
        click.echo(f"The first failure: {failed}", err=True)
        if failed.startswith("HTTP 401"):
            click.echo("A suite names the variable that holds a key: `target: {api_key: env:NAME}`.", err=True)
    answered = (score for result in outcome.results if result.error is None for score in result.scores)
    unjudged = next((score for score in answered if score.value is None and score.label is None), None)
    if unjudged is not None:
        click.echo(f"The first judgment without a value, {unjudged.name}: {unjudged.explanation}", err=True)
