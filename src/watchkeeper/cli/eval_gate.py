"""The command that gates a deployment on recorded scores, and refuses those that are about something else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from watchkeeper.cli.eval_options import gate_options
from watchkeeper.cli.eval_publish import summary_option, write_summary
from watchkeeper.cli.options import Failure, house_options, print_json, when

if TYPE_CHECKING:
    from watchkeeper.cli.door import Door
    from watchkeeper.cli.eval_run import Stated
    from watchkeeper.engines.experiments.freshness import Freshness
    from watchkeeper.engines.experiments.gates import Ruled
    from watchkeeper.engines.experiments.results import Outcome

_DIGEST = re.compile(r"[0-9a-f]{8,64}")
_ANY = ""
RUNS_LOOKED_AT = 100


class _Asked(NamedTuple):
    """What is to be gated: a run by its id, or the runs of a suite, whose file may be known."""

    word: str
    suite: str | None
    path: Path | None
    stated: Stated
    live: bool


@click.command()
@click.argument("run", metavar="SUITE|RUN")
@click.option(
    "--serving",
    metavar="[MANIFEST|MODEL]",
    is_flag=False,
    flag_value=_ANY,
    help="Refuse scores that are not about what answers live calls, this composition, or this model; name SUITE first.",
)
@click.option("--since", default="24h", show_default=True, help="Which live calls to compare with.")
@click.option("--agent", help="Only live calls of this agent.")
@click.option("--service", help="Only live calls of this service.")
@gate_options
@summary_option
@house_options
def gate(
    run: str,
    serving: str | None,
    since: str,
    agent: str | None,
    service: str | None,
    summary: Path | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Gate a deployment on the recorded scores of RUN (an experiment's id) or of a SUITE's newest run.

    Nothing is asked. A SUITE is a file or a suite's name; with --serving its newest run that tested what serves is
    taken. Exit code 0 when all is shown; 1 when a gate failed, or the scores are about another composition (stale) and
    are not looked at; 3 when the evidence does not say, as for a run that was not asked to its end; 2 when there is
    nothing to gate on.
    """
    from watchkeeper.cli.door import open_door
    from watchkeeper.cli.eval_run import gates_of

    asked = _read(run, config, data)
    try:
        gates = gates_of({**chosen, "stop_early": None}, asked.stated, config, data)
    except ValueError as error:
        raise Failure(str(error), "gate") from error
    if not gates and serving is None:
        raise Failure("there is nothing to gate on: name --serving, --at-least SCORE=VALUE or --against RUN.", "gate")
    with open_door(config, data) as door:
        door.flush()
        window = {"since": since, "agent": agent, "service": service}
        row, found, differs = _newest(door, asked, serving, window)
        outcome = _outcome(door, row)
    refused = found is not None and found.state != "fresh"
    ruled = [] if found is None else [_ruled(found, serving)]
    if not refused:
        ruled += _whole(outcome) + [each(outcome) for each in gates]
    run_this = _commands(asked, row, agent) if refused else []
    write_summary(summary, outcome, str(asked.path or asked.word), ruled, scored=not refused, advice=run_this)
    passed = _passed(ruled)
    if as_json:
        _tell_json(row, found, differs, ruled, run_this, passed)
    else:
        _tell(row, ruled, differs, run_this)
    raise SystemExit({True: 0, False: 1, None: 3}[passed])


def _read(word: str, config: Path | None, data: str | None) -> _Asked:
    from watchkeeper.cli.eval_run import Stated
    from watchkeeper.cli.eval_sources import sources_of
    from watchkeeper.engines.experiments.dataset import SuiteError
    from watchkeeper.engines.experiments.suite import load_suite, read_suite

    path = Path(word)
    if path.suffix not in (".yaml", ".yml", ".py"):
        return _Asked(word, None if word.startswith("exp_") else word, None, Stated(), False)
    try:
        suite, _ = read_suite(path)
        stated = Stated(suite.margin)
        if suite.gates.cells is not None:  # cells are told by the cases, which are not read otherwise
            stated = Stated.by(load_suite(path, sources_of(config, data)))
    except SuiteError as error:
        raise Failure(str(error), "suite") from error
    return _Asked(word, suite.name, path, stated, suite.target is not None and suite.target.live is not None)


def _newest(
    door: Door, asked: _Asked, serving: str | None, window: dict[str, Any]
) -> tuple[dict[str, Any], Freshness | None, list[dict[str, Any]]]:
    """The run to gate on: the newest that is about what serves, else the newest."""
    which = {"experiment_id": asked.word} if asked.suite is None else {"suite": asked.suite}
    rows = door.ask("experiments", {**which, "limit": RUNS_LOOKED_AT})["items"]
    ended = [row for row in rows if row["end_ns"] is not None]
    if not ended:
        what = f"finished run of {asked.suite!r}" if asked.suite is not None else f"finished experiment {asked.word!r}"
        begun = " One has begun and can go on: watchkeeper eval resume." if rows else ""
        run = f"watchkeeper eval run {asked.path}" if asked.path else "watchkeeper eval list"
        raise Failure(f"there is no {what}, so nothing is shown.{begun} Run: {run}", "no_run")
    if serving is None:
        return ended[0], None, []
    looked = [(row, *_fresh(door, row["compositions"] or {}, serving, window)) for row in ended]
    return next((each for each in looked if each[1].state == "fresh"), looked[0])


def _fresh(
    door: Door, tested: dict[str, int], serving: str, window: dict[str, Any]
) -> tuple[Freshness, list[dict[str, Any]]]:
    from watchkeeper.cli.eval_status import live_freshness
    from watchkeeper.engines.experiments.freshness import about_composition

    if _DIGEST.fullmatch(serving):
        return about_composition(tested, serving), []
    found, differs, _ = live_freshness(door, tested, window, route=serving or None)
    return found, differs


def _outcome(door: Door, row: dict[str, Any]) -> Outcome:
    import msgspec

    from watchkeeper.cli.eval_sides import scores_of
    from watchkeeper.engines.experiments.results import outcome_of
    from watchkeeper.records.experiment import Experiment

    known = {name: value for name, value in row.items() if value is not None}
    return outcome_of(msgspec.convert(known, Experiment), scores_of(door, row["experiment_id"]))


def _ruled(found: Freshness, serving: str | None) -> Ruled:
    from watchkeeper.engines.experiments.gates import Ruled

    gate = "tested what serves" if serving == _ANY else f"tested {serving}"
    passed = {"fresh": True, "stale": False, "unknown": None}[found.state]
    refused = "" if found.state == "fresh" else ", so its scores are not looked at"
    return Ruled(gate=gate, passed=passed, sentence=f"{found.state}{refused}: {found.sentence}")


def _whole(outcome: Outcome) -> list[Ruled]:
    """A run that was not asked to its end shows nothing: what is left out may be what fails."""
    from watchkeeper.engines.experiments.gates import Ruled

    if not outcome.stopped:
        return []
    run = outcome.experiment.experiment_id
    sentence = (
        f"Only {len(outcome.results)} of {outcome.planned} answers were asked for: it was stopped, capped or ended "
        f"early. Go on with it (watchkeeper eval resume {run}), or run the suite to its end."
    )
    return [Ruled(gate="asked to its end", passed=None, sentence=sentence)]


def _passed(ruled: list[Ruled]) -> bool | None:
    if any(each.passed is False for each in ruled):
        return False
    return None if any(each.passed is None for each in ruled) else True


def _commands(asked: _Asked, row: dict[str, Any], agent: str | None) -> list[str]:
    """What to run for scores that are about what serves, and this gate again."""
    import shlex

    path = shlex.quote(str(asked.path)) if asked.path else "SUITE"
    again = [f"watchkeeper eval run {path}", _this_again(path)]
    if asked.live:
        return again
    named = f"agent: {agent or 'NAME'}"
    return [f"in {asked.path or 'the suite ' + row['suite']}: target: {{live: {{{named}}}}}", *again]


def _this_again(path: str) -> str:
    """This command with its options, of the suite."""
    import shlex

    params = dict(click.get_current_context().params)
    words = [] if params["serving"] is None else ["--serving", *([params["serving"]] if params["serving"] else [])]
    for name in ("since", "agent", "service", "against", "require", "margin"):
        given = click.get_current_context().get_parameter_source(name)
        if given is not None and given.name == "COMMANDLINE":
            words += [f"--{name}", str(params[name])]
    words += [word for each in params["at_least"] for word in ("--at-least", each)]
    return f"watchkeeper eval gate {path} {shlex.join(words)}"


def _tell(row: dict[str, Any], ruled: list[Ruled], differs: list[dict[str, Any]], run_this: list[str]) -> None:
    from watchkeeper.cli.eval_status import tell_others

    click.echo(f"{row['experiment_id']}: {row['suite']}, run {when(row['end_ns'])} UTC against {row['target']}")
    for each in ruled:
        state = {True: "passed", False: "failed", None: "not resolved"}[each.passed]
        click.echo(f"{each.gate}: {state}. {each.sentence}")
    tell_others(differs)
    if run_this:
        click.echo("For scores that are about what serves:")
        for command in run_this:
            click.echo(f"  {command}")


def _tell_json(
    row: dict[str, Any],
    found: Freshness | None,
    differs: list[dict[str, Any]],
    ruled: list[Ruled],
    run_this: list[str],
    passed: bool | None,
) -> None:
    from watchkeeper.queries.registry import as_plain

    print_json(
        {
            "schema": "watchkeeper.eval.gate/1",
            "experiment_id": row["experiment_id"],
            "suite": row["suite"],
            "target": row["target"],
            "passed": passed,
            "serving": None if found is None else {**as_plain(found), "other": differs},
            "gates": as_plain(ruled),
            "run": run_this,
        }
    )
