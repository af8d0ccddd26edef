"""The command that grades eval suites by planted defects, and writes an exercise of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.eval_asking import MEASURED_ON, Told, load_asked, on_bench, opened
from watchkeeper.cli.eval_options import asking_options
from watchkeeper.cli.eval_properties import claims_of
from watchkeeper.cli.eval_run import STOPPED, UNRESOLVED, plan_of, run_loop
from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.cli.eval_asking import Asking
    from watchkeeper.config import Config
    from watchkeeper.engines.experiments.arms import Answers, Bench
    from watchkeeper.engines.experiments.grading import Contest, Grade, Graded, Trial
    from watchkeeper.engines.experiments.suite import Loaded
    from watchkeeper.engines.experiments.working import Done
    from watchkeeper.records.estimate import Estimate

WORDS = {"scorers": "its scorers", "properties": "its properties", "all": "the suite"}


@click.command()
@click.argument("suite", type=click.Path(path_type=Path), required=False)
@click.option(
    "--against", metavar="SUITE", type=click.Path(path_type=Path), help="Grade this one too; its target is asked."
)
@click.option("--kit", metavar="DIR", type=click.Path(path_type=Path), help="Write an exercise there, and end.")
@click.option("--each", type=click.IntRange(1, 1_000), default=4, show_default=True, help="Mutants of every defect.")
@click.option("--controls", type=click.IntRange(1, 1_000), default=10, show_default=True, help="Harmless variants.")
@click.option("--floor", type=float, default=0.9, show_default=True, help="A score's mean below this is an alarm.")
@click.option("--inputs", type=click.IntRange(1), default=200, show_default=True, help="Inputs a property.")
@asking_options
@house_options
def mutants(
    suite: Path | None,
    against: Path | None,
    kit: Path | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Grade SUITE: plant known defects behind its target and count what it notices, minus its false alarms.

    With --against both suites are graded on the same mutants of that one's target, and compared mutant by mutant; the
    defects that show only on questions asked otherwise leave that one's own questions alone. With --kit the agent,
    traces, a first suite and the task are written to an empty folder, without SUITE those of a small agent that needs
    no model. Answers of an endpoint are kept, so the same command after a stop goes on where it was.

    Exit code 0 when the credit's interval (with --against: that of its difference) lies above zero, 1 when not; 2 when
    a suite cannot be used; 3 at a cap, or where the difference is not resolved; 130 when stopped by Ctrl-C, which tells
    what was graded so far. A Python suite is a program and is run as one: read one that somebody handed in.
    """
    if kit is not None:
        _write_kit(kit, suite, config, data, as_json, chosen)
        return
    if suite is None:
        raise Failure("name a SUITE to grade, or write an exercise with --kit DIR.", "suite")
    from watchkeeper.engines.experiments.dataset import SuiteError
    from watchkeeper.engines.experiments.grading import contest, grade, inert_in

    first, settings = load_asked(against or suite, config, data)
    try:
        loaded = [first] if against is None else [first, load_asked(suite, config, data, live=False)[0]]
        done, planned = run_loop(_play(loaded, settings, chosen))
    except SuiteError as error:
        raise Failure(str(error), "suite") from error
    sides: list[list[Trial]] = [[trials[at] for trials in done.each] for at in range(len(loaded))]
    inert = inert_in(*sides)
    twice = len({each.suite.name for each in loaded}) < len(loaded)
    names = [str(each.path) if twice else each.suite.name for each in loaded]
    grades = [grade(name, side, inert) for name, side in zip(names, sides, strict=True)]
    compared = contest(*sides) if len(sides) == 2 else None
    ended = {"played": len(done.each), "planned": planned, "ended_by": done.ended_by, "stopped": done.stopped}
    _tell(grades, compared, sides[-1], ended, as_json)
    raise SystemExit(_code(grades[-1], compared, done))


def _code(found: Grade, compared: Contest | None, done: Done[Any]) -> int:
    if done.stopped:
        return STOPPED
    if done.ended_by is not None:
        return UNRESOLVED
    if compared is not None:
        return {"better": 0, "worse": 1, "not resolved": UNRESOLVED}[compared.verdict]
    return 0 if found.credit.low > 0 else 1


async def _play(loaded: list[Loaded], settings: Config, chosen: dict[str, Any]) -> tuple[Done[tuple[Trial, ...]], int]:
    from watchkeeper.engines.experiments.arms import Bench
    from watchkeeper.engines.experiments.grading import Grading
    from watchkeeper.engines.experiments.mutants import mutants_of

    planned = mutants_of(chosen["each"], chosen["controls"])
    async with opened(loaded[0], settings, chosen) as asking:
        suites = [await _graded(each, asking, settings, chosen["floor"]) for each in loaded]
        grading = Grading(
            Bench(asking.plan, asking.ask, stopping=asking.stopping),
            asking.ask,
            loaded[0].cases,
            inputs=chosen["inputs"],
            concurrency=chosen["concurrency"],
            stopping=asking.stopping,
            share=not chosen["no_cache"],
            progress=Told(asking.ask, "mutants", len(planned)),
        )
        return await grading.play(suites, planned), len(planned)


async def _graded(loaded: Loaded, asking: Asking, settings: Config, floor: float) -> Graded:
    """A suite ready to be graded, its judges open; its own target is not asked."""
    from watchkeeper.compose.judging import attach_judges
    from watchkeeper.engines.experiments.grading import Graded

    plan, claims = asking.plan, tuple(claims_of(loaded, settings))
    if loaded.cases is not plan.cases:
        plan = await attach_judges(plan_of(loaded, settings, None, None, plan.concurrency)[0], asking.stack)
    if not plan.judges and not claims:
        raise Failure(f"{loaded.path}: has neither scorers nor properties, so nothing could notice.", "suite")
    return Graded(name=loaded.suite.name, cases=loaded.cases, judges=plan.judges, claims=claims, floor=floor)


def _write_kit(
    folder: Path, suite: Path | None, config: Path | None, data: str | None, as_json: bool, chosen: dict[str, Any]
) -> None:
    from watchkeeper.lab.exercise import write_exercise, write_own_exercise

    try:
        if suite is None:
            written = write_exercise(folder, chosen["floor"])
        else:
            written = write_own_exercise(folder, *_own(suite, config, data, chosen), chosen["floor"])
    except FileExistsError as error:
        raise Failure(f"{folder} is not empty. Name an empty folder, or one that is not there yet.") from error
    except OSError as error:
        raise Failure(f"{folder} cannot be written: {error.strerror}. Name another folder.") from error
    if as_json:
        print_json({"kit": [str(path) for path in written]})
    else:
        click.echo("\n".join(f"Wrote {path}" for path in written))


def _own(suite: Path, config: Path | None, data: str | None, chosen: dict[str, Any]) -> tuple[Any, list[Any]]:
    """The target of a suite and traces of it: its cases, each with what was answered."""
    import json

    import msgspec

    loaded, settings = load_asked(suite, config, data)
    if loaded.answer is not None or loaded.suite.target is None:
        raise Failure(
            f"{suite}: its agent is a function of the suite itself, which would be handed out with it. Write a kit of "
            "a suite that asks an endpoint, or leave SUITE out for the exercise's own agent.",
            "suite",
        )

    async def work(bench: Bench) -> Answers:
        return await bench("traces", judges=())

    results = on_bench(loaded, settings, chosen, work).results
    said = {result.case_id: result.output for result in results if result.error is None}
    traces = [
        {"id": at, "messages": json.loads(case.messages), "expected": case.expected or said[case.case_id]}
        for at, case in enumerate(loaded.cases)
        if case.case_id in said
    ]
    if not traces:
        raise Failure(f"{suite}: its target answered nothing, so there are no traces to hand out.", "suite")
    target = msgspec.to_builtins(loaded.suite.target)
    return {name: value for name, value in target.items() if value not in (None, {})}, traces


def _tell(
    grades: list[Grade], compared: Contest | None, trials: list[Trial], ended: dict[str, Any], as_json: bool
) -> None:
    """Show the grades; the last one is that of the suite that was asked about."""
    if as_json:
        from watchkeeper.queries.registry import as_plain

        found = {**as_plain(grades[-1]), "credit": as_plain(grades[-1].credit), "trials": as_plain(trials), **ended}
        if compared is not None:
            found |= {"against": {**as_plain(grades[0]), "credit": as_plain(grades[0].credit)}}
            found |= {"compared": as_plain(compared)}
        print_json({**found, "measured_on": MEASURED_ON})
        return
    for each in grades:
        _tell_grade(each)
    if compared is not None:
        click.echo(
            f"{plain(grades[1].name)} against {plain(grades[0].name)}: {compared.verdict}. It kills "
            f"{_signed(compared.kills)} more ({compared.only_b} mutants that the other misses, {compared.only_a} the "
            f"other way round; p = {compared.p_value:.3g}), false alarms {_signed(compared.false_alarms)}, credit "
            f"{_signed(compared.credit)}."
        )
    if ended["ended_by"] is not None:
        click.echo(f"{ended['played']} of {ended['planned']} mutants were played. {ended['ended_by']}")
    click.echo(MEASURED_ON)


def _tell_grade(found: Grade) -> None:
    rows = [
        (WORDS[each.part], _share(each.kills), _share(each.false_alarms), _signed(each.credit)) for each in found.parts
    ]
    click.echo(
        f"{plain(found.name)} caught {found.caught} of {found.mutants} mutants; "
        f"{found.false_alarms} of {found.controls} controls alarmed"
    )
    print_table(("by", "kills", "false alarms", "credit"), rows, "")
    for name, each in (*found.by_defect.items(), *found.by_where.items()):
        if each.n:
            click.echo(f"  {name}: {round(each.value * each.n)} of {each.n} killed")
    click.echo(f"its properties kill {_signed(found.gain)} beyond its scorers, over the same mutants")
    if found.inert or found.void:
        click.echo(f"{found.inert} mutants changed no answer, {found.void} got too few answers; they count nowhere.")


def _share(each: Estimate) -> str:
    return f"{each.value:.2f} ({each.low:.2f} to {each.high:.2f})" if each.n else "unknown"


def _signed(each: Estimate) -> str:
    return f"{each.value:+.2f} ({each.low:+.2f} to {each.high:+.2f})" if each.n else "unknown"
