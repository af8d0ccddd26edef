"""The command that runs a suite: asks every case, judges every answer, and may gate a release."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import click

from watchkeeper.cli.eval_keeping import RunKeeper
from watchkeeper.cli.eval_live import with_live
from watchkeeper.cli.eval_options import asking_options, gate_options
from watchkeeper.cli.eval_publish import publish, publish_options
from watchkeeper.cli.eval_sources import sources_of
from watchkeeper.cli.eval_telling import Ran, RunProgress, tell_run
from watchkeeper.cli.options import Failure, house_options

if TYPE_CHECKING:
    from watchkeeper.config import Config
    from watchkeeper.engines.experiments.asking import Asker
    from watchkeeper.engines.experiments.cell_spec import Cells
    from watchkeeper.engines.experiments.gates import Gate
    from watchkeeper.engines.experiments.results import Before, Outcome
    from watchkeeper.engines.experiments.run_file import Left, RunFile
    from watchkeeper.engines.experiments.runner import Plan
    from watchkeeper.engines.experiments.suite import Loaded, Target
    from watchkeeper.engines.recorder.capture import Capture
    from watchkeeper.engines.recorder.home import Home
    from watchkeeper.engines.recorder.journal import Journal
    from watchkeeper.records.case import Case

STOPPED = 130
UNRESOLVED = 3
WRITERS = ("eval", *(f"eval-{number}" for number in range(2, 10)))


@click.command()
@click.argument("suite", type=click.Path(path_type=Path))
@asking_options
@gate_options
@click.option("--stop-early", metavar="SCORE", help="End as soon as this score's verdict is known.")
@click.option("--range", "span", type=(float, float), default=(0.0, 1.0), help="Least and most of that score [0 1].")
@click.option("--out", type=click.Path(path_type=Path), help="Write one JSON line for each answer and its scores.")
@publish_options
@house_options
def run(
    suite: Path,
    target: str | None,
    model: str | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Run SUITE, a YAML or Python file: ask every case, judge every answer, record scores and summary.

    A run that was stopped or killed goes on with `watchkeeper eval resume`. Answers are kept in the data directory: the
    same command again is another run, which asks only what is not answered yet; reruns (`repeats`) are never answered
    with one another's answers.

    Exit code 0; 1 when a gate failed or every call did; 2 when the suite cannot be used; 3 when a gate could not be
    resolved, or a cap ended the run; 130 when stopped by Ctrl-C, which keeps what was answered. A Python suite is a
    program and is run as one.
    """
    from watchkeeper.config import load
    from watchkeeper.engines.experiments.dataset import SuiteError
    from watchkeeper.engines.experiments.suite import load_suite

    settings = load(config, data=data)
    try:
        loaded = load_suite(suite, sources_of(config, data))
        gates = gates_of(chosen, Stated.by(loaded), config, data)
    except (SuiteError, ValueError) as error:
        raise Failure(str(error), "suite") from error
    require_scorers(loaded)
    places_for(chosen)
    warn_of_names(loaded, chosen)
    conclude(run_suite(loaded, settings, gates, (target, model), chosen), loaded, chosen, as_json)


def places_for(chosen: dict[str, Any]) -> None:
    """Raise `Failure`, before anything is asked, where a file that is to be written has no folder."""
    for name in ("out", "junit", "sarif", "summary"):
        path = chosen.get(name)
        if path is not None and not Path(path).absolute().parent.is_dir():
            raise Failure(f"--{name} {path}: there is no folder {Path(path).parent}. Make it, or name another file.")


def warn_of_names(loaded: Loaded, chosen: dict[str, Any]) -> None:
    """Say, before anything is asked, which gate is about a score that no scorer is known to give."""
    known = [use.name or use.use for use in loaded.suite.scorers]
    wanted = [each.partition("=")[0].strip() for each in chosen["at_least"]]
    for name in dict.fromkeys([*wanted, *([chosen["stop_early"]] if chosen["stop_early"] else [])]):
        if name.split(".")[0] not in known:
            told = f"No scorer of the suite is called {name!r}; there are: {', '.join(known)}"
            click.echo(f"{told}. A gate on a score that no answer has is not resolved.", err=True)


def require_scorers(loaded: Loaded) -> None:
    """Raise `Failure` for a suite that nothing scores: one that states properties alone."""
    if not loaded.suite.scorers:
        raise Failure(
            f"{loaded.path}: has `properties` and no `scorers`, and this needs scores. Add scorers, or look for "
            f"violations: watchkeeper eval properties {loaded.path}",
            "suite",
        )


def conclude(ran: Ran, loaded: Loaded, chosen: dict[str, Any], as_json: bool) -> NoReturn:
    """Write and tell what came of a run, and end with its exit code."""
    outcome, out = ran.outcome, chosen.get("out")
    if out is not None:
        from watchkeeper.engines.experiments.results import write_results

        try:
            write_results(Path(out), outcome.results)
        except OSError as error:
            raise Failure(f"{out} cannot be written: {error.strerror}. The run is recorded all the same.") from error
    publish(outcome, loaded, ran.ruled, chosen)
    tell_run(ran, out, as_json)
    if len(outcome.experiment.compositions) > 1:
        told = ", ".join(f"{name[:12]} ({count})" for name, count in sorted(outcome.experiment.compositions.items()))
        click.echo(f"The gateway answered by several compositions, so the scores are about no one: {told}.", err=True)
    if ran.left:
        run = outcome.experiment.experiment_id
        click.echo(f"What has no answer is asked by: watchkeeper eval resume {run}", err=True)
    asked = len(outcome.results)
    if outcome.ended_by == "stopped":
        raise SystemExit(STOPPED)
    if any(each.passed is False for each in ran.ruled) or (asked > 0 and outcome.experiment.errors == asked):
        raise SystemExit(1)
    unresolved = outcome.ended_by == "cap" or any(each.passed is None for each in ran.ruled)
    raise SystemExit(UNRESOLVED if unresolved else 0)


def plan_of(
    loaded: Loaded, settings: Config, url: str | None, model: str | None, concurrency: int
) -> tuple[Plan, str | None]:
    """What to run, and the endpoint's key."""
    import time

    import msgspec

    from watchkeeper.compose.discovery import build
    from watchkeeper.config import Capability
    from watchkeeper.engines.experiments.runner import Judge, Plan, composition

    suite = loaded.suite
    named = msgspec.structs.replace(settings, file=str(loaded.path))
    judges = tuple(
        Judge(
            scorer=build("scorers", Capability(use=use.use, name=use.name, parameters=use.parameters), named),
            name=use.name,
        )
        for use in suite.scorers
    )
    target, key = suite.target, None
    parameters: dict[str, Any] = {}
    if target is not None:
        parameters = {**target.parameters, "model": model or target.model}
        key = None if loaded.answer is not None and url is None else target.key()
    elif model is not None:
        parameters = {"model": model}
    asked = url or (None if loaded.answer is not None else target.base_url if target is not None else None)
    if asked is None and loaded.answer is None:
        raise Failure(f"{loaded.path}: `target.base_url` is missing; add it, or name an endpoint with --target URL.")
    if url is not None and not url.startswith(("http://", "https://")):
        raise Failure(f"--target {url!r} is no URL. Write one such as http://127.0.0.1:8787/v1.")
    if asked is not None and "model" not in parameters:
        raise Failure(f"{loaded.path}: names no model; name one with --model, or add `target` to the suite.")
    said = asked or f"{loaded.path.name}:target"
    plan = Plan(
        suite=suite.name,
        target=said,
        cases=loaded.cases,
        judges=judges,
        manifest=composition(_through(said, target), parameters, loaded.cases, time.time_ns()),
        parameters=parameters,
        repeats=suite.repeats,
        concurrency=concurrency,
        margin=suite.margin,
    )
    return plan, key


def _through(url: str, target: Target | None) -> str:
    """Whom a suite asks, and through which interface where that is not the usual one: its answers are others."""
    return url if target is None or target.api == "openai" else f"{url} as {target.api}"


def run_suite(
    loaded: Loaded,
    settings: Config,
    gates: list[Gate],
    target: tuple[str | None, str | None],
    chosen: dict[str, Any],
    taken: tuple[RunFile, Left] | None = None,
) -> Ran:
    """Run a suite against its target (or another URL and model) and record it, or go on with one; raises `Failure`."""
    from watchkeeper.compose.redacting import captured
    from watchkeeper.compose.unlocking import unlock
    from watchkeeper.engines.experiments.run_file import RunFileError
    from watchkeeper.engines.recorder.home import Home
    from watchkeeper.engines.recorder.journal import JournalFull

    try:
        loaded = with_live(loaded, settings)
        plan, key = plan_of(loaded, settings, *target, chosen["concurrency"])
        home = Home(settings.data)
        unlock(settings, home)
        writer = captured(settings, home, eval_writer(home), "evals")
        try:
            going = _Going(loaded, plan, key, settings, writer, chosen, target, taken)
            outcome, told, left = run_loop(_run(going, gates))
        finally:
            writer.close()
    except JournalFull as error:
        told = error.strerror or error
        raise Failure(
            f"{told}. Free some space and go on (watchkeeper eval resume); what was recorded so far is kept."
        ) from error
    except RunFileError as error:
        raise Failure(str(error), "run_file") from error
    except ValueError as error:
        raise Failure(str(error), "suite") from error
    return Ran(outcome, told, [gate(outcome) for gate in gates], left)


def eval_writer(home: Home) -> Journal:
    """A journal of this command's own; runs at the same time take turns in their names."""
    from watchkeeper.engines.recorder.journal import Journal, JournalLocked

    for name in WRITERS:
        try:
            return Journal(home.journal, name, home.secret("chunks"), subjects=home.subjects)
        except JournalLocked:
            continue
    raise Failure(f"{len(WRITERS)} evals run on {home.path} already. Wait for one to end, or name another --data DIR.")


class Stated(NamedTuple):
    """What a suite itself states of its gates, and the cases that its cells lie among."""

    margin: float | None = None
    cells: Cells | None = None
    cases: Sequence[Case] = ()

    @classmethod
    def by(cls, loaded: Loaded) -> Stated:
        """What a suite that was read states."""
        return cls(loaded.suite.margin, loaded.suite.gates.cells, loaded.cases)


def gates_of(chosen: dict[str, Any], stated: Stated, config: Path | None, data: str | None) -> list[Gate]:
    """What the run must show, by the command and by the suite; raises `ValueError` for what cannot be meant."""
    gates: list[Gate] = []
    if chosen["at_least"]:
        from watchkeeper.engines.experiments.gates import Floor

        gates += [Floor.read(text) for text in chosen["at_least"]]
    margin = chosen["margin"] or stated.margin
    baseline = None
    if chosen["against"] is not None:
        from watchkeeper.cli.eval_sides import side
        from watchkeeper.engines.experiments.gates import AgainstBaseline

        baseline = side(chosen["against"], config, data)
        gates.append(AgainstBaseline(baseline, chosen["require"], margin))
    elif chosen["require"] != "not-worse":
        raise ValueError("--require is about a baseline: name one with --against RUN.")
    if chosen["require"] in ("non-inferior", "equivalent") and margin is None:
        raise ValueError(f"--require {chosen['require']} needs --margin, the difference that does not matter.")
    if stated.cells is not None:
        from watchkeeper.engines.experiments.cell_gates import gates_on

        gates += gates_on(stated.cells, stated.cases, baseline)
    if chosen["stop_early"] is not None and not any(gate.watches(chosen["stop_early"]) for gate in gates):
        raise ValueError(
            f"--stop-early {chosen['stop_early']} needs something to compare with: --against RUN, or "
            f"--at-least {chosen['stop_early']}=VALUE."
        )
    return gates


def run_loop(work: Any) -> Any:
    """Run a coroutine, on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


class _Going(NamedTuple):
    """What a run goes with."""

    loaded: Loaded
    plan: Plan
    key: str | None
    settings: Config
    writer: Capture
    chosen: dict[str, Any]
    target: tuple[str | None, str | None]
    taken: tuple[RunFile, Left] | None


async def _run(going: _Going, gates: list[Gate]) -> tuple[Outcome, Any, bool]:
    import signal
    import time

    import msgspec

    from watchkeeper.compose.asking import price_of
    from watchkeeper.compose.judging import attach_judges, kin_warnings
    from watchkeeper.engines.experiments.runner import Runner

    loaded, plan, key, settings, writer, chosen, _, taken = going
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        stopping.set()

    loop.add_signal_handler(signal.SIGINT, stop)
    done = None
    if chosen["stop_early"] is not None:
        from watchkeeper.engines.experiments.stopping import shuffled_units, sizes_of

        gate = next(each for each in gates if each.watches(chosen["stop_early"]))
        done = gate.early(chosen["stop_early"], sizes_of(plan.cases, plan.repeats), chosen["span"])
        plan = msgspec.structs.replace(plan, cases=shuffled_units(plan.cases, plan.suite))
    async with AsyncExitStack() as stack:
        for warning in kin_warnings(plan):
            click.echo(warning, err=True)
        plan = await attach_judges(plan, stack)
        before = None if taken is None else taken[1].before
        if before is not None:
            same_judges(plan, before)
        ask = await asker_for(stack, loaded, plan, key, settings, chosen)
        kept = RunKeeper(ask)
        runner = Runner(
            plan, ask, writer.append, time.time_ns, progress=RunProgress(stack, plan, ask, before),
            price=price_of(settings), done=done, keep=kept, records=writer.append_all, before=before,
        )  # fmt: skip
        stack.callback(kept.close)
        if taken is None:
            kept.begin(loaded, settings, going.target, chosen, runner.experiment)
        else:
            kept.again(taken, runner.experiment)
        outcome = await runner.run(stopping)
        return outcome, ask.told, kept.ended(outcome)


def same_judges(plan: Plan, before: Before) -> None:
    """Raise `ValueError` where answers were judged by other scorers than those that would judge the rest."""
    now = {(each.scorer.header.id, each.scorer.header.version, each.parameters) for each in plan.judges}
    for result in before.results:
        for score in result.scores:
            if (score.scorer, score.version, score.parameters) not in now:
                raise ValueError(
                    f"The run was judged by {score.scorer} {score.version}, which is another one now, and one run has "
                    "one measure. Run the suite anew: its answers are kept."
                )


async def asker_for(
    stack: AsyncExitStack, loaded: Loaded, plan: Plan, key: str | None, settings: Config, chosen: dict[str, Any]
) -> Asker:
    """The asker for a plan's target; what it holds is let go of with the stack."""
    from watchkeeper.compose.asking import asker_of, cache_of, keeps_answers, provider_of
    from watchkeeper.engines.experiments.asking import Restraint
    from watchkeeper.engines.experiments.targets import FunctionTarget
    from watchkeeper.engines.recorder.home import Home

    provider: Any
    own = loaded.answer is not None and plan.target.endswith(":target")
    if own:
        assert loaded.answer is not None
        provider = FunctionTarget(loaded.answer)
    else:
        target = loaded.suite.target
        timeout_s = target.timeout_s if target else 120.0
        api = target.api if target else "openai"
        provider = await stack.enter_async_context(provider_of(api, plan.target, key, timeout_s))
    restraint = Restraint(
        requests_per_minute=chosen["requests_per_minute"],
        tokens_per_minute=chosen["tokens_per_minute"],
        retries=0 if own else chosen["retries"],
        cap_usd=chosen["cap_usd"],
    )
    # A function of the suite's own may be another one tomorrow under the same name: its answers are not kept.
    keeps = not chosen["no_cache"] and not own
    if keeps and not keeps_answers(settings):
        click.echo("No answers are kept, for the record is encrypted: a run that is killed starts over.", err=True)
        keeps = False
    cache = None
    if keeps:
        from watchkeeper.engines.recorder.home import Home

        Home(settings.data)  # the answers lie in a data directory, whoever comes first
        cache = cache_of(settings.data)
    if cache is not None:
        stack.callback(cache.close)
    named = plan.target if own else _through(plan.target, loaded.suite.target)
    return asker_of(settings, provider, named, restraint=restraint, cache=cache)
