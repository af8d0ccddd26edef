"""Commands for evals: run a suite, compare two runs item by item, list what was run."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.eval_tables import columns_of, compare_tables, power, summarize, table_options
from watchkeeper.cli.options import Failure, house_options, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.config import Config
    from watchkeeper.engines.experiments.compare import Compared, Side
    from watchkeeper.engines.experiments.results import Outcome
    from watchkeeper.engines.experiments.runner import Plan, Runner
    from watchkeeper.engines.experiments.suite import Loaded
    from watchkeeper.engines.recorder.capture import Capture
    from watchkeeper.engines.recorder.home import Home
    from watchkeeper.engines.recorder.journal import Journal

STOPPED = 130
WRITERS = ("eval", *(f"eval-{number}" for number in range(2, 10)))
SHOWN_CASES = 20
PAGE = 10_000


@click.group("eval")
def eval_() -> None:
    """Run suites of cases and compare them, item by item."""


eval_.add_command(summarize)
eval_.add_command(power)


@eval_.command()
@click.argument("suite", type=click.Path(path_type=Path))
@click.option("--target", metavar="URL", help="Ask this OpenAI-compatible endpoint instead of the suite's own.")
@click.option("--model", help="Ask this model instead of the suite's own.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True, help="Calls at a time.")
@click.option("--out", type=click.Path(path_type=Path), help="Write one JSON line for each answer and its scores.")
@house_options
def run(
    suite: Path,
    target: str | None,
    model: str | None,
    concurrency: int,
    out: Path | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Run SUITE, a YAML or Python file: ask every case, judge every answer, record scores and summary.

    Exit code 0; 1 when every call failed; 2 when the suite cannot be used; 130 when stopped by Ctrl-C, which keeps what
    was answered. A Python suite is a program and is run as one.
    """
    from watchkeeper.cli.door import open_door
    from watchkeeper.compose.redacting import captured
    from watchkeeper.compose.unlocking import unlock
    from watchkeeper.config import load
    from watchkeeper.engines.experiments.dataset import SuiteError
    from watchkeeper.engines.experiments.results import write_results
    from watchkeeper.engines.experiments.suite import load_suite
    from watchkeeper.engines.recorder.home import Home
    from watchkeeper.engines.recorder.journal import JournalFull

    settings = load(config, data=data)
    try:
        loaded = load_suite(suite)
        plan, key = _plan(loaded, settings, target, model, concurrency)
    except SuiteError as error:
        raise Failure(str(error), "suite") from error
    home = Home(settings.data)
    unlock(settings, home)
    writer = captured(settings, home, eval_writer(home), "evals")
    try:
        outcome = asyncio.run(_run(loaded, plan, key, settings, writer))
    except JournalFull as error:
        raise Failure(f"{error}. Free some space and run again; what was recorded so far is kept.") from error
    finally:
        writer.close()
    if out is not None:
        try:
            write_results(out, outcome.results)
        except OSError as error:
            raise Failure(f"{out} cannot be written: {error.strerror}. The run is recorded all the same.") from error
    with open_door(config, data) as door:
        door.flush()
    _tell_run(outcome, out, as_json)
    asked = len(outcome.results)
    raise SystemExit(STOPPED if outcome.stopped else int(asked > 0 and outcome.experiment.errors == asked))


@eval_.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="[B]", required=False)
@table_options(required=False)
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
    side_a: str | None,
    side_b: str | None,
    margin: float | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Compare the runs A and B, each an experiment's id or a file that `eval run --out` wrote, case by case.

    With --item and --score A and B are anybody's tables of scores (CSV or JSONL, gzip too), or A alone is, whose groups
    --a and --b of --by are compared. Exit code 1 when a score is worse in B, 0 when none is, 2 when they cannot be
    compared.
    """
    from watchkeeper.engines.experiments.compare import NotComparable, compare_sides
    from watchkeeper.engines.experiments.dataset import SuiteError

    if item or score is not None:
        if not item or score is None:
            raise Failure("tables of scores need both --item COL and --score COL.", "not_comparable")
        columns = columns_of(item, score, by, cluster, run, where)
        files = [Path(word) for word in (a, b) if word is not None]
        raise SystemExit(compare_tables(files, columns, (side_a, side_b), margin, as_json))
    if b is None:
        raise Failure("name two runs to compare, or the columns of a table with --item and --score.", "not_comparable")
    try:
        sides = _side(a, config, data), _side(b, config, data)
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


def _plan(
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
    if asked is not None and "model" not in parameters:
        raise Failure(f"{loaded.path}: names no model; name one with --model, or add `target` to the suite.")
    said = asked or f"{loaded.path.name}:target"
    plan = Plan(
        suite=suite.name,
        target=said,
        cases=loaded.cases,
        judges=judges,
        manifest=composition(said, parameters, loaded.cases, time.time_ns()),
        parameters=parameters,
        repeats=suite.repeats,
        concurrency=concurrency,
        margin=suite.margin,
    )
    return plan, key


def eval_writer(home: Home) -> Journal:
    """A journal of this command's own; runs at the same time take turns in their names."""
    from watchkeeper.engines.recorder.journal import Journal, JournalLocked

    for name in WRITERS:
        try:
            return Journal(home.journal, name, home.secret("chunks"), subjects=home.subjects)
        except JournalLocked:
            continue
    raise Failure(f"{len(WRITERS)} evals run on {home.path} already. Wait for one to end, or name another --data DIR.")


async def _run(loaded: Loaded, plan: Plan, key: str | None, settings: Config, writer: Capture) -> Outcome:
    import signal
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from watchkeeper.adapters.models.openai_http import OpenAIHttp
    from watchkeeper.engines.experiments.runner import Runner
    from watchkeeper.engines.experiments.targets import FunctionTarget

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        stopping.set()

    loop.add_signal_handler(signal.SIGINT, stop)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    async with AsyncExitStack() as stack:
        provider: Any
        if loaded.answer is not None and plan.target.endswith(":target"):
            provider = FunctionTarget(loaded.answer)
        else:
            timeout_s = loaded.suite.target.timeout_s if loaded.suite.target else 120.0
            endpoint = OpenAIHttp(plan.target, key, timeout_s=timeout_s, connections=plan.concurrency)
            provider = await stack.enter_async_context(endpoint)
        bar = stack.enter_context(Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True))
        task = bar.add_task(plan.suite, total=len(plan.cases) * plan.repeats)
        runner: Runner = Runner(
            plan,
            provider,
            writer.append,
            time.time_ns,
            progress=lambda _: bar.advance(task),
            price=pricer(settings),
        )
        return await runner.run(stopping)


def pricer(settings: Config) -> Any:
    """What a completion cost in US dollars; None where its model or its usage is unknown."""
    import time

    from watchkeeper.compose.pricing import prices_of
    from watchkeeper.kinds.ports import Completion
    from watchkeeper.records.span import Usage

    prices = prices_of(settings)

    def price(answer: Completion) -> float | None:
        if answer.input_tokens is None or answer.output_tokens is None:
            return None
        usage = Usage(input_tokens=answer.input_tokens, output_tokens=answer.output_tokens)
        cost = prices.cost(None, answer.model, usage, time.time_ns())
        return None if cost is None else cost.usd

    return price


def _side(word: str, config: Path | None, data: str | None) -> Side:
    """One run from a file, or from the record by the experiment's id."""
    import msgspec

    from watchkeeper.cli.door import open_door
    from watchkeeper.engines.experiments.compare import side_of_results, side_of_scores
    from watchkeeper.engines.experiments.results import read_results
    from watchkeeper.records.score import Score

    if Path(word).is_file() or word.endswith(".jsonl"):
        return side_of_results(word, read_results(Path(word)))
    rows: list[Any] = []
    with open_door(config, data) as door:
        while True:
            asked = {"experiment_id": word, "limit": PAGE, "cursor": len(rows)}
            items = door.ask("scores", asked)["items"]
            rows += items
            if len(items) < PAGE:
                break
    if not rows:
        raise Failure(
            f"there is no experiment {word!r} with scores, and no such file. List them: watchkeeper eval list"
        )
    known = [{name: value for name, value in row.items() if value is not None} for row in rows]
    return side_of_scores(word, (msgspec.convert(row, Score) for row in known))


def _tell_run(outcome: Outcome, out: Path | None, as_json: bool) -> None:
    experiment = outcome.experiment
    if as_json:
        from watchkeeper.queries.registry import as_plain

        told = as_plain(experiment)
        print_json(
            {
                **told,
                "answered": len(outcome.results),
                "planned": outcome.planned,
                "stopped": outcome.stopped,
                "unscored": outcome.unscored,
                "out": None if out is None else str(out),
            }
        )
        return
    if outcome.stopped:
        click.echo(f"Stopped: {len(outcome.results)} of {outcome.planned} answers are kept; the means are over those.")
    click.echo(f"{experiment.experiment_id}: {experiment.suite} against {experiment.target}")
    rows = [
        (name, _mean(each), f"{each.low:.3g} to {each.high:.3g}", each.n, each.method)
        for name, each in experiment.summary.items()
    ]
    print_table(("score", "mean", "95% interval", "n", "method"), rows, "No answer could be judged.")
    spent = "unknown" if experiment.spent_usd is None else f"${experiment.spent_usd:.4g}"
    click.echo(
        f"{experiment.cases} cases, {len(outcome.results)} answers, {experiment.errors} calls failed, "
        f"{outcome.unscored} judgments without a value (counted in no mean); spent {spent}."
    )
    failed = next((result.error for result in outcome.results if result.error is not None), None)
    if failed is not None:
        click.echo(f"The first failure: {failed}", err=True)


def _tell_compared(each: Compared) -> None:
    found = each.comparison
    difference = found.difference
    mde = found.minimum_detectable_effect
    seen = "unknown" if mde is None else f"{mde:.3g} (4 times in 5)"
    click.echo(f"{each.score} ({each.scorer} {each.version}): {found.verdict}")
    click.echo(
        f"  B - A = {difference.value:+.3g} ({difference.confidence:.0%} interval {difference.low:+.3g} to "
        f"{difference.high:+.3g}), p = {found.p_value:.3g}, {found.method}"
    )
    click.echo(
        f"  paired cases: {found.n} ({found.improved} better, {found.worsened} worse), mean {found.mean_a:.3g} to "
        f"{found.mean_b:.3g}; smallest difference this could have shown: {seen}"
        + (f"; margin {found.margin:g}" if found.margin is not None else "")
    )
    for side, names in (("A", each.only_a), ("B", each.only_b)):
        if names:
            more = f" and {len(names) - SHOWN_CASES} more" if len(names) > SHOWN_CASES else ""
            click.echo(f"  scored in {side} only: {', '.join(names[:SHOWN_CASES])}{more}")


def _mean(estimate: Any) -> str:
    value = estimate["value"] if isinstance(estimate, dict) else estimate.value
    return "unknown" if value is None else f"{value:.3g}"
