"""The command that goes on with a run that was killed, stopped or capped, or whose calls failed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.eval_options import pace_options
from watchkeeper.cli.eval_publish import publish_options
from watchkeeper.cli.options import Failure, house_options, print_json, print_table, when

if TYPE_CHECKING:
    from watchkeeper.config import Config
    from watchkeeper.engines.experiments.run_file import Left
    from watchkeeper.engines.experiments.suite import Loaded

_BEGAN_WITH: dict[str, Any] = {
    "against": None, "at_least": (), "require": "not-worse", "margin": None, "stop_early": None, "span": (0.0, 1.0),
    "concurrency": 8, "requests_per_minute": None, "tokens_per_minute": None, "retries": 2, "no_cache": False,
    "cap_usd": None, "out": None, "junit": None, "sarif": None, "summary": None,
}  # fmt: skip


@click.command()
@click.argument("run", required=False)
@pace_options
@click.option("--out", type=click.Path(path_type=Path), help="Write one JSON line for each answer and its scores.")
@publish_options
@house_options
def resume(run: str | None, data: str | None, config: Path | None, as_json: bool, **given: Any) -> None:
    """Go on with RUN, an experiment's id, from what is kept: nothing that was answered is asked again.

    It goes on as it was begun: the same cases, target, scorers and gates, even if the suite was changed since; only
    what is named here differs. Calls that failed are asked again. Without RUN the runs that can go on are listed. Exit
    codes are those of `eval run`.
    """
    from watchkeeper.cli.eval_run import Stated, conclude, gates_of, places_for, run_suite
    from watchkeeper.compose.asking import RUNS
    from watchkeeper.config import load
    from watchkeeper.engines.experiments.dataset import SuiteError
    from watchkeeper.engines.experiments.run_file import RunFile, RunFileError, runs_left

    settings = load(config, data=data)
    folder = settings.data / RUNS
    if run is None:
        _tell_left(runs_left(folder), as_json)
        return
    if not (folder / f"{run}.jsonl").is_file() or Path(run).name != run:
        raise Failure(
            f"{run!r} is no run that can go on here: it has ended with every answer, was run with --no-cache or beside "
            "an encrypted record, or is of another data directory. List them: watchkeeper eval resume",
            "no_run",
        )
    try:
        file, left = RunFile.open(folder, run)
    except RunFileError as error:
        raise Failure(str(error), "run_file") from error
    try:
        config, settings = _settings(left, config, data, settings)
        began = {name: tuple(value) if isinstance(value, list) else value for name, value in left.begun.chosen.items()}
        chosen = {**_BEGAN_WITH, **began, **{name: value for name, value in given.items() if value is not None}}
        chosen["summary"] = None if chosen["summary"] is None else Path(chosen["summary"])
        places_for(chosen)
        loaded = _loaded(left)
        gates = gates_of(chosen, Stated.by(loaded), config, data)
        click.echo(f"{run}: {left.answered} of {left.planned} are answered, {left.failed} calls failed.", err=True)
        ran = run_suite(loaded, settings, gates, left.begun.target, chosen, (file, _capped(left, chosen, settings)))
    except (SuiteError, ValueError) as error:
        raise Failure(str(error), "suite") from error
    finally:
        file.close()
    conclude(ran, loaded, chosen, as_json)


def _settings(left: Left, config: Path | None, data: str | None, found: Config) -> tuple[Path | None, Config]:
    """The settings that the run was begun with, where none are named; prices and redaction hang on them."""
    from watchkeeper.config import load

    began = left.begun.config
    if config is not None or began is None or not Path(began).is_file():
        return config, found
    return Path(began), load(Path(began), data=data or str(found.data))


def _loaded(left: Left) -> Loaded:
    """The suite as it was begun; raises `SuiteError` where the program that answers is another one now."""
    from watchkeeper.cli.eval_keeping import program_of
    from watchkeeper.engines.experiments.dataset import SuiteError
    from watchkeeper.engines.experiments.suite import Loaded, run_program

    begun = left.begun
    path = Path(begun.path)
    answer = run_program(path)[1] if begun.program is not None else None
    loaded = Loaded(suite=begun.suite, cases=left.cases, path=path, answer=answer)
    if begun.program is not None and program_of(loaded) != begun.program:
        raise SuiteError(
            f"{path}: has changed since the run began, and its own function answers: the rest would be of another "
            f"program. Run it anew: watchkeeper eval run {path}"
        )
    return loaded


def _capped(left: Left, chosen: dict[str, Any], settings: Config) -> Left:
    """The run with what may have been spent unseen: calls that were under way when its process died, at their most."""
    import msgspec

    from watchkeeper.compose.asking import most_of

    target = left.begun.suite.target
    if chosen["cap_usd"] is None or left.ended is not None or target is None:
        return left
    most = most_of(settings)
    parameters = {**target.parameters, "model": left.begun.target[1] or target.model}
    answered = {result.case_id for result in left.before.results}
    costs = [most(case.messages, parameters) or 0.0 for case in left.cases if case.case_id not in answered]
    began = left.begun.chosen
    unseen = max(costs, default=0.0) * (began["retries"] + 1) * min(began["concurrency"], len(costs))
    if unseen:
        click.echo(
            f"Calls under way when it was killed may have cost up to ${unseen:.4g}; the cap counts them.", err=True
        )
    return msgspec.structs.replace(left, spent_usd=left.spent_usd + unseen)


def _tell_left(left: list[Left], as_json: bool) -> None:
    if as_json:
        rows: list[dict[str, Any]] = [
            {
                "experiment_id": each.before.experiment.experiment_id,
                "suite": each.begun.suite.name,
                "target": each.before.experiment.target,
                "path": each.begun.path,
                "state": each.state,
                "planned": each.planned,
                "answered": each.answered,
                "failed": each.failed,
                "at_ns": each.before.experiment.at_ns,
            }
            for each in left
        ]
        print_json({"schema": "watchkeeper.eval.left/1", "runs": rows})
        return
    print_table(
        ("id", "suite", "target", "state", "answered", "calls failed", "began (UTC)"),
        [
            (
                each.before.experiment.experiment_id,
                each.begun.suite.name,
                each.before.experiment.target,
                each.state,
                f"{each.answered} of {each.planned}",
                each.failed,
                when(each.before.experiment.at_ns),
            )
            for each in left
        ],
        "No run has anything left to ask.",
    )
    if left:
        click.echo("Go on with one: watchkeeper eval resume ID", err=True)
