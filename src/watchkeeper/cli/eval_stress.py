"""The command that plays a suite's tasks whole and in turns, many times."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.eval_live import with_live
from watchkeeper.cli.eval_run import asker_for, plan_of, run_loop
from watchkeeper.cli.eval_sources import sources_of
from watchkeeper.cli.options import Failure, house_options, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.config import Config
    from watchkeeper.engines.experiments.suite import Loaded
    from watchkeeper.records.case import Case


@click.command()
@click.argument("suite", type=click.Path(path_type=Path))
@click.option("--target", metavar="URL", help="Ask this endpoint instead of the suite's own.")
@click.option("--model", help="Ask this model instead of the suite's own.")
@click.option(
    "--runs", type=click.IntRange(2, 1_000), default=10, show_default=True, help="Runs of each task and form."
)
@click.option("--turns", type=click.IntRange(2, 50), default=8, show_default=True, help="Turns at most.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True, help="Calls at a time.")
@click.option("--cap-usd", type=click.FloatRange(0), help="Stop before more than this could be spent.")
@click.option("--no-cache", is_flag=True, help="Ask everything anew, and keep no answers.")
@house_options
def stress(
    suite: Path,
    target: str | None,
    model: str | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Play the tasks of SUITE whole and cut into turns, many times: aptitude and unreliability, by its first scorer.

    Exit code 0, or 1 when cut tasks are shown to be less reliable or worse at their best; 2 when the suite cannot be
    used or none of its tasks can be cut.
    """
    from watchkeeper.config import load
    from watchkeeper.engines.experiments.asking import CapReached
    from watchkeeper.engines.experiments.dataset import SuiteError
    from watchkeeper.engines.experiments.suite import load_suite
    from watchkeeper.queries.registry import as_plain

    settings = load(config, data=data)
    try:
        loaded = with_live(load_suite(suite, sources_of(config, data)), settings)
        pairs = _pairs(loaded, settings, chosen["turns"])
        if not pairs or not loaded.suite.scorers:
            raise Failure(f"{suite}: needs a scorer, and tasks of two sentences or more to cut.", "suite")
        chosen |= {"requests_per_minute": None, "tokens_per_minute": None, "retries": 2}
        found = run_loop(_play(loaded, settings, (target, model), pairs, chosen))
    except (SuiteError, CapReached) as error:
        raise Failure(str(error), "suite") from error
    if as_json:
        print_json({**as_plain(found), "not_cut": len(loaded.cases) - len(pairs)})
    else:
        rows = [
            (name, side.tasks, *(f"{e.value:.3g} ({e.low:.3g} to {e.high:.3g})" for e in (side.average, side.aptitude, side.unreliability)))  # noqa: E501
            for name, side in (("whole", found.whole), ("in turns", found.sharded))
        ]  # fmt: skip
        print_table(("form", "tasks", "average", "aptitude (p90)", "unreliability (p90-p10)"), rows, "No tasks.")
        for name, e in (("aptitude", found.aptitude_change), ("unreliability", found.unreliability_change)):
            click.echo(f"{name}, in turns minus whole: {e.value:+.3g} ({e.low:+.3g} to {e.high:+.3g})")
        click.echo(
            f"{found.failed} runs got no answer, {found.unscored} no score, {len(loaded.cases) - len(pairs)} tasks could not be cut."  # noqa: E501
        )
    raise SystemExit(1 if found.aptitude_change.high < 0 or found.unreliability_change.low > 0 else 0)


def _pairs(loaded: Loaded, settings: Config, turns: int) -> list[tuple[Case, Case]]:
    from random import Random

    from watchkeeper.compose.discovery import build
    from watchkeeper.config import Capability

    generator = build("generators", Capability(use="shards", parameters={"most": turns}), settings)
    known = {case.case_id: case for case in loaded.cases}
    return [(known[str(made.attributes["parent"])], made) for made in generator.generate(loaded.cases, Random(0))]


async def _play(
    loaded: Loaded,
    settings: Config,
    target: tuple[str | None, str | None],
    pairs: list[tuple[Case, Case]],
    chosen: dict[str, Any],
) -> Any:
    from watchkeeper.engines.experiments.stress import Stress
    from watchkeeper.kinds.scorer import Subject

    plan, key = plan_of(loaded, settings, *target, chosen["concurrency"])

    async def judge(case: Case, answer: str) -> float | None:
        marks: Any = plan.judges[0].scorer.score(
            Subject(kind="case", subject_id=case.case_id, output=answer, case=case)
        )
        value: float | None = (marks if isinstance(marks, tuple) else await marks)[0].value
        return value

    async with AsyncExitStack() as stack:
        ask = await asker_for(stack, loaded, plan, key, settings, chosen)
        return await Stress(ask, plan.parameters, judge, chosen["concurrency"]).play(pairs, chosen["runs"])
