"""The command that grades an eval suite by planted defects."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.eval_live import with_live
from watchkeeper.cli.eval_properties import claims_of
from watchkeeper.cli.eval_run import STOPPED, asker_for, plan_of, run_loop
from watchkeeper.cli.eval_sources import sources_of
from watchkeeper.cli.options import Failure, house_options, print_json

if TYPE_CHECKING:
    from watchkeeper.config import Config
    from watchkeeper.engines.experiments.asking import Asker
    from watchkeeper.engines.experiments.mutants import Mutant, Trial
    from watchkeeper.engines.experiments.properties import Claim
    from watchkeeper.engines.experiments.runner import Plan
    from watchkeeper.engines.experiments.suite import Loaded


@click.command()
@click.argument("suite", type=click.Path(path_type=Path))
@click.option("--target", metavar="URL", help="Ask this endpoint instead of the suite's own.")
@click.option("--model", help="Ask this model instead of the suite's own.")
@click.option("--each", type=click.IntRange(1, 1_000), default=4, show_default=True, help="Mutants of every defect.")
@click.option("--controls", type=click.IntRange(1, 1_000), default=10, show_default=True, help="Harmless variants.")
@click.option("--floor", type=float, default=0.9, show_default=True, help="A score's mean below this is an alarm.")
@click.option("--inputs", type=click.IntRange(1), default=200, show_default=True, help="Inputs a property.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True, help="Calls at a time.")
@click.option("--cap-usd", type=click.FloatRange(0), help="Stop before more than this could be spent.")
@click.option("--no-cache", is_flag=True, help="Ask everything anew, and keep no answers.")
@house_options
def mutants(
    suite: Path,
    target: str | None,
    model: str | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Grade SUITE: plant known defects behind its target and count what it notices, minus its false alarms.

    Exit code 0 when the credit's interval lies above zero, else 1; 2 when the suite cannot be used; 130 when stopped.
    """
    from watchkeeper.config import load
    from watchkeeper.engines.experiments.asking import CapReached
    from watchkeeper.engines.experiments.dataset import SuiteError
    from watchkeeper.engines.experiments.mutants import grade
    from watchkeeper.engines.experiments.suite import load_suite
    from watchkeeper.queries.registry import as_plain

    settings = load(config, data=data)
    chosen |= {"requests_per_minute": None, "tokens_per_minute": None, "retries": 2}
    try:
        loaded = with_live(load_suite(suite, sources_of(config, data)), settings)
        claims = claims_of(loaded, settings)
        trials = run_loop(_play(loaded, claims, settings, (target, model), chosen))
    except (SuiteError, CapReached) as error:
        raise Failure(str(error), "suite") from error
    except KeyboardInterrupt:
        raise SystemExit(STOPPED) from None
    found = grade(trials)
    if as_json:
        print_json({**as_plain(found), "trials": as_plain(trials)})
    else:
        click.echo(
            f"caught {found.caught} of {found.mutants} mutants; "
            f"{found.false_alarms} of {found.controls} controls alarmed"
        )
        for defect, (caught, planted) in found.by_defect.items():
            click.echo(f"  {defect}: {caught} of {planted}")
        for name, each in (("credit", found.credit), ("gain by properties", found.gain)):
            click.echo(f"{name}: {each.value:.2f} ({each.low:.2f} to {each.high:.2f})")
    raise SystemExit(0 if found.credit.low > 0 else 1)


async def _play(
    loaded: Loaded, claims: list[Claim], settings: Config, target: tuple[str | None, str | None], chosen: dict[str, Any]
) -> list[Trial]:
    from watchkeeper.engines.experiments.mutants import mutants_of

    plan, key = plan_of(loaded, settings, *target, chosen["concurrency"])
    trials = []
    async with AsyncExitStack() as stack:
        ask = await asker_for(stack, loaded, plan, key, settings, chosen)
        for mutant in mutants_of(chosen["each"], chosen["controls"]):
            click.echo(f"{mutant.defect} {mutant.seed}", err=True)
            trials.append(await _trial(plan, claims, ask, mutant, chosen))
    return trials


async def _trial(plan: Plan, claims: list[Claim], ask: Asker, mutant: Mutant, chosen: dict[str, Any]) -> Trial:
    """Put one mutant before the suite's scorers and its properties."""
    from watchkeeper.analysis.asked import asked_text
    from watchkeeper.engines.experiments.asking import Asker
    from watchkeeper.engines.experiments.mutants import MutantProvider, Trial
    from watchkeeper.engines.experiments.properties import Budget, Properties
    from watchkeeper.kinds.scorer import Subject

    questions = frozenset(text for case in plan.cases if (text := asked_text(case.messages)) is not None)
    provider = MutantProvider(ask, mutant, questions)
    values: dict[str, list[float]] = {}
    for case in plan.cases:
        answer = await provider.complete(case.messages, plan.parameters)
        for judge in plan.judges:
            subject = Subject(kind="case", subject_id=case.case_id, output=answer.output or "", case=case)
            marks: Any = judge.scorer.score(subject)
            for mark in marks if isinstance(marks, tuple) else await marks:
                if mark.value is not None:
                    values.setdefault(judge.name or mark.name, []).append(mark.value)
    failing = any(sum(each) / len(each) < chosen["floor"] for each in values.values())
    look = Properties(
        Asker(provider, plan.target),
        plan.parameters,
        Budget(inputs=chosen["inputs"], shown=0, concurrency=1),
        mutant.seed,
    )
    rulings = [(await look.look(claim, plan.cases, asyncio.Event())).ruling for claim in claims]
    return Trial(
        mutant=mutant,
        by_scorers=failing,
        by_properties="broken" in rulings,
        inert=provider.changed == 0 and mutant.defect != "brittle",
    )
