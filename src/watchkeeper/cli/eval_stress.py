"""The command that plays a suite's tasks whole and in turns, many times."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.eval_asking import MEASURED_ON, Told, interval, load_asked, opened
from watchkeeper.cli.eval_options import asking_options
from watchkeeper.cli.eval_prompt import SCORE
from watchkeeper.cli.eval_run import STOPPED, UNRESOLVED, run_loop
from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.config import Config
    from watchkeeper.engines.experiments.runner import Judge
    from watchkeeper.engines.experiments.stress import Stressed
    from watchkeeper.engines.experiments.suite import Loaded
    from watchkeeper.records.case import Case


@click.command()
@click.argument("suite", type=click.Path(path_type=Path))
@click.option(
    "--runs", type=click.IntRange(2, 1_000), default=10, show_default=True, help="Runs of each task and form."
)
@click.option("--turns", type=click.IntRange(2, 50), default=8, show_default=True, help="Turns at most.")
@SCORE
@asking_options
@house_options
def stress(suite: Path, data: str | None, config: Path | None, as_json: bool, **chosen: Any) -> None:
    """Play the tasks of SUITE whole and cut into turns, many times: aptitude and unreliability, by one score.

    Answers of an endpoint are kept, so the same command after a stop goes on where it was.

    Exit code 0, or 1 when cut tasks are shown to be less reliable or worse at their best; 2 when the suite cannot be
    used or none of its tasks can be cut; 3 at a cap, or when half of the runs got no score; 130 when stopped by Ctrl-C,
    which tells what was played so far.
    """
    from watchkeeper.engines.experiments.dataset import SuiteError

    loaded, settings = load_asked(suite, config, data)
    try:
        pairs = _pairs(loaded, settings, chosen["turns"])
        if not pairs or not loaded.suite.scorers:
            raise Failure(f"{suite}: needs a scorer, and tasks of two sentences or more to cut.", "suite")
        found = run_loop(_play(loaded, settings, pairs, chosen))
    except SuiteError as error:
        raise Failure(str(error), "suite") from error
    _tell(found, len(loaded.cases) - len(pairs), as_json)
    if found.stopped:
        raise SystemExit(STOPPED)
    if found.ended_by is not None or found.ruling == "not resolved":
        raise SystemExit(UNRESOLVED)
    raise SystemExit(0 if found.ruling == "not shown" else 1)


def _pairs(loaded: Loaded, settings: Config, turns: int) -> list[tuple[Case, Case]]:
    from random import Random

    from watchkeeper.compose.discovery import build
    from watchkeeper.config import Capability

    generator = build("generators", Capability(use="shards", parameters={"most": turns}), settings)
    known = {case.case_id: case for case in loaded.cases}
    return [(known[str(made.attributes["parent"])], made) for made in generator.generate(loaded.cases, Random(0))]


async def _play(loaded: Loaded, settings: Config, pairs: list[tuple[Case, Case]], chosen: dict[str, Any]) -> Stressed:
    from watchkeeper.engines.experiments.arms import score_of
    from watchkeeper.engines.experiments.stress import Stress

    async with opened(loaded, settings, chosen) as asking:
        plan, runs = asking.plan, chosen["runs"]
        score = score_of(plan, chosen["score"])
        judge = next(each for each in plan.judges if _name(each) == score.split(".")[0])
        progress = Told(asking.ask, "runs", 2 * len(pairs) * runs)
        play = Stress(
            asking.ask, plan.parameters, judge, score=chosen["score"], concurrency=plan.concurrency, progress=progress
        )  # fmt: skip
        return await play.play(pairs, runs, asking.stopping)


def _name(judge: Judge) -> str:
    return judge.name or judge.scorer.header.id


def _tell(found: Stressed, not_cut: int, as_json: bool) -> None:
    if as_json:
        from watchkeeper.queries.registry import as_plain

        print_json({**as_plain(found), "not_cut": not_cut, "measured_on": MEASURED_ON})
        return
    rows = [
        (name, side.tasks, *(_level(each) for each in (side.average, side.aptitude, side.unreliability)))
        for name, side in (("whole", found.whole), ("in turns", found.sharded))
    ]
    print_table(("form", "tasks", "average", "aptitude (p90)", "unreliability (p90-p10)"), rows, "No tasks.")
    click.echo(f"aptitude, in turns minus whole: {interval(found.aptitude_change)}")
    click.echo(f"unreliability, in turns minus whole: {interval(found.unreliability_change)}")
    click.echo(f"in turns: {found.ruling}; {found.why}.")
    click.echo(
        f"{found.failed} runs got no answer, {found.unscored} no score; they, and the other form's run of that number, "
        f"are in no figure. {not_cut} tasks could not be cut."
    )
    if found.first_error is not None:
        click.echo(plain(f"The first failure: {found.first_error}"), err=True)
    if found.ended_by is not None:
        click.echo(f"{found.played} of {found.planned} runs were played. {found.ended_by}")
    click.echo(MEASURED_ON)


def _level(each: Any) -> str:
    return f"{each.value:.3g} ({each.low:.3g} to {each.high:.3g})"
