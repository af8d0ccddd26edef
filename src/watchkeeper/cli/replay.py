"""Commands that take recorded steps again: `replay` as they were, `fork` with one thing changed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.cli.door import Door
    from watchkeeper.config import Config, Upstream
    from watchkeeper.engines.experiments.replay import Arm, Change, Forked, Replayed, Walk
    from watchkeeper.engines.experiments.steps import Cassette, Step, Turn
    from watchkeeper.records.estimate import Estimate

F = TypeVar("F", bound=Callable[..., Any])
CALLS = ("chat", "text_completion")
NOT_FOUND = 404
SHOWN_CHARS = 200


def _model_options(command: F) -> F:
    """The options by which both commands choose whom to ask, and how often."""
    for option in (
        click.option("--one-turn", is_flag=True, help="Take the step alone; do not go on over recorded tool results."),
        click.option(
            "--concurrency", type=click.IntRange(1, 64), default=4, show_default=True, help="Walks at a time."
        ),
        click.option("--key-env", metavar="NAME", help="Environment variable that holds the key for --target."),
        click.option("--target", metavar="URL", help="OpenAI-compatible endpoint to ask [the step's own upstream]."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("trace")
@click.option("--step", metavar="STEP", help="One step: its number in the trace from 1, or its span id [all steps].")
@click.option("--samples", type=click.IntRange(1, 1000), default=5, show_default=True, help="Walks for each step.")
@_model_options
@house_options
def replay(
    trace: str,
    step: str | None,
    samples: int,
    target: str | None,
    key_env: str | None,
    concurrency: int,
    one_turn: bool,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Take the steps of TRACE again with the recorded tool results, and say how often the model does the same.

    No tool is run: a call that the recorded run made gets the result that it got there; one that it did not make ends
    the walk and is named. Costs money at a paid endpoint: steps x samples x turns calls. Exit code 1 when every walk of
    a step failed.
    """
    from watchkeeper.engines.experiments.replay import arm_of
    from watchkeeper.engines.experiments.steps import following

    read = _Reading(trace, data, config)
    chosen = [read.step(step)] if step is not None else read.steps
    asked = _Asking(read.settings, chosen, target, key_env)
    title = f"replay {trace[:12]}"
    walks = asked.walk([each.request for each in chosen], samples, read.cassette, concurrency, one_turn, title)
    results = [
        _replayed(each, arm_of("replay", some, _recorded(following(read.steps, each), one_turn)))
        for each, some in zip(chosen, walks, strict=True)
    ]
    if as_json:
        print_json({"trace_id": trace, "target": asked.target, "samples": samples, "steps": results})
    else:
        for result in results:
            _tell_replayed(result)
    raise SystemExit(int(any(each.arm.failed == each.arm.walks for each in results)))


@click.command()
@click.argument("trace")
@click.option("--at", required=True, metavar="STEP", help="The step: its number in the trace from 1, or its span id.")
@click.option(
    "--with",
    "changes",
    multiple=True,
    required=True,
    metavar="NAME=VALUE",
    help="What to change: model=NAME, prompt=TEXT or prompt=@FILE (the system prompt), or a field such as "
    "temperature=0. May be given more than once.",
)
@click.option("--samples", type=click.IntRange(2, 1000), default=20, show_default=True, help="Walks on each side.")
@_model_options
@house_options
def fork(
    trace: str,
    at: str,
    changes: tuple[str, ...],
    samples: int,
    target: str | None,
    key_env: str | None,
    concurrency: int,
    one_turn: bool,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Take a step of TRACE with a change and without, as often each, and say what the change changes.

    The unchanged request is asked anew beside the changed one: what differs is then the change, and not chance or a
    model that moved since the recording. Every rate has its interval; what the samples cannot tell is "not resolved".
    The summary is recorded as an experiment. No tool is run. Exit code 1 when every walk of a side failed.
    """
    read = _Reading(trace, data, config)
    step = read.step(at)
    change = _change(changes)
    asked = _Asking(read.settings, [step], target, key_env)
    requests = [step.request, change.apply(step.request)]
    title = f"fork {trace[:12]} step {step.number}"
    walks = asked.walk(requests, samples, read.cassette, concurrency, one_turn, title)
    result = _forked(step, walks, _recorded(read.following(step), one_turn))
    _keep(result, read, asked.target, trace, changes)
    if as_json:
        print_json({"trace_id": trace, "target": asked.target, "changes": list(changes), **_plain(result)})
    else:
        _tell_forked(result, changes)
    raise SystemExit(int(any(arm.failed == arm.walks for arm in (result.unchanged, result.changed))))


class _Reading:
    """The steps of a trace as they were recorded, and what its tools gave back."""

    def __init__(self, trace: str, data: str | None, config: Path | None) -> None:
        from watchkeeper.cli.door import open_door
        from watchkeeper.engines.experiments.steps import Cassette, StepError

        with open_door(config, data) as door:
            self.settings = door.config
            self.home = door.home
            rows = [row for row in door.ask("trace", {"trace_id": trace})["items"] if row["operation"] in CALLS]
            if not rows:
                raise Failure(
                    f"there is no trace {trace!r} with a model call. List them: watchkeeper ask traces", "not_found"
                )
            self.steps: list[Step] = []
            self.unreadable: dict[int, str] = {}
            for number, row in enumerate(rows, 1):
                try:
                    self.steps.append(_step(door, row, number))
                except (StepError, Failure) as error:
                    self.unreadable[number] = str(getattr(error, "message", error))
        if not self.steps:
            raise Failure(f"no step of this trace can be taken again. {next(iter(self.unreadable.values()))}", "gone")
        for number, why in self.unreadable.items():
            click.echo(f"Step {number} is left out: {why}", err=True)
        self.cassette: Cassette = Cassette(each.request["messages"] for each in self.steps)

    def step(self, wanted: str) -> Step:
        """One step by its number or its span id."""
        for each in self.steps:
            if wanted in (str(each.number), each.span_id):
                return each
        known = ", ".join(f"{each.number} ({each.span_id})" for each in self.steps[:20])
        raise Failure(f"this trace has no step {wanted!r} that can be taken again; it has: {known}.", "not_found")

    def following(self, step: Step) -> list[Step]:
        """The recorded steps that went on from one, itself first."""
        from watchkeeper.engines.experiments.steps import following

        return following(self.steps, step)


def _step(door: Door, row: Mapping[str, Any], number: int) -> Step:
    from watchkeeper.engines.experiments.steps import Step, request_of, turn_of

    span_id, trace_id = row["span_id"], row["trace_id"]
    detail = door.get(f"/api/v1/spans/{quote(trace_id, safe='')}/{quote(span_id, safe='')}").json()
    bodies = {body["name"]: body for body in detail["span"].get("bodies") or ()}
    name = next((each for each in ("sent", "request") if each in bodies), None)
    raw = None
    if name is not None:
        raw = door.get(f"/api/v1/spans/{quote(span_id, safe='')}/bodies/{name}", {"trace": trace_id}).checked()
    said = detail["conversation"]
    request, rebuilt = request_of(raw, said["input"], row.get("model"))
    finish = (row.get("finish_reasons") or [None])[0]
    return Step(
        number=number,
        span_id=span_id,
        request=request,
        turn=turn_of(said["output"], finish, row.get("response_model")),
        rebuilt=rebuilt,
        redactions=int(bodies[name].get("redactions") or 0) if name is not None else 0,
    )


class _Asking:
    """Whom to ask, and the asking itself, with a bar for long work."""

    def __init__(self, settings: Config, steps: Sequence[Step], target: str | None, key_env: str | None) -> None:
        import os

        self._settings = settings
        if target is None:
            upstream = _upstream(settings, str(steps[0].request.get("model") or ""))
            target, key_env = upstream.base_url, key_env or _env_of(upstream)
        if not target.startswith(("http://", "https://")):
            raise Failure(f"--target {target!r} is no URL; expected one such as https://api.openai.com/v1.")
        self.target = target
        self._key = None
        if key_env is not None:
            self._key = os.environ.get(key_env)
            if not self._key:
                raise Failure(f"the environment variable {key_env} is not set; it should hold the endpoint's key.")

    def walk(
        self,
        requests: Sequence[Mapping[str, Any]],
        samples: int,
        cassette: Cassette,
        concurrency: int,
        one_turn: bool,
        title: str,
    ) -> list[list[Walk]]:
        """Take each request as often as asked; all of them share the endpoint's connections."""
        return asyncio.run(self._walk(requests, samples, cassette, concurrency, one_turn, title))

    async def _walk(
        self,
        requests: Sequence[Mapping[str, Any]],
        samples: int,
        cassette: Cassette,
        concurrency: int,
        one_turn: bool,
        title: str,
    ) -> list[list[Walk]]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from watchkeeper.compose.asking import price_of, provider_of
        from watchkeeper.engines.experiments.replay import Walker

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as bar:
            task = bar.add_task(title, total=samples * len(requests))
            async with provider_of("openai", self.target, self._key) as provider:
                walker = Walker(
                    provider,
                    cassette,
                    forward=not one_turn,
                    concurrency=concurrency,
                    price=price_of(self._settings),
                    progress=lambda: bar.advance(task),
                )
                return await walker.walks(requests, samples)


def _upstream(settings: Config, model: str) -> Upstream:
    from fnmatch import fnmatchcase

    for upstream in settings.upstreams:
        if any(fnmatchcase(model, pattern) for pattern in upstream.models):
            return upstream
    raise Failure(
        f"no upstream in the settings serves the model {model!r}. Name an endpoint with --target URL, and the variable "
        "that holds its key with --key-env NAME."
    )


def _env_of(upstream: Upstream) -> str | None:
    """The variable that holds an upstream's key; a caller's own key was never recorded."""
    if upstream.credential.startswith("env:"):
        return upstream.credential.removeprefix("env:")
    if upstream.credential == "client":
        raise Failure(
            f"the upstream {upstream.name!r} takes each caller's own key, which is never recorded. Name a "
            "variable that holds one with --key-env NAME."
        )
    return None


def _change(words: Sequence[str]) -> Change:
    import json

    from watchkeeper.engines.experiments.replay import Change

    model: str | None = None
    prompt: str | None = None
    fields: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise Failure(f"--with {word!r} is no change; write NAME=VALUE, for example model=gpt-5-mini.")
        if name == "model":
            model = value
        elif name == "prompt":
            prompt = _text_of(value)
        elif name in ("messages", "stream"):
            raise Failure(f"--with {name}=... cannot be changed by a fork; it can change model, prompt and parameters.")
        else:
            try:
                fields[name] = json.loads(value)
            except ValueError:
                fields[name] = value
    return Change(model=model, prompt=prompt, fields=fields)


def _text_of(value: str) -> str:
    if not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{value[1:]} cannot be read as the prompt: {error}. Name a UTF-8 text file.") from error


def _recorded(steps: Sequence[Step], one_turn: bool) -> list[Turn]:
    return [each.turn for each in steps][: 1 if one_turn else None]


def _replayed(step: Step, arm: Arm) -> Replayed:
    from watchkeeper.engines.experiments.replay import Replayed

    return Replayed(
        step=step.number,
        span_id=step.span_id,
        recorded=step.turn,
        arm=arm,
        rebuilt=step.rebuilt,
        redactions=step.redactions,
    )


def _forked(step: Step, walks: Sequence[Sequence[Walk]], recorded: Sequence[Turn]) -> Forked:
    from watchkeeper.engines.experiments.replay import Forked, arm_of, differences

    unchanged, changed = walks
    return Forked(
        step=step.number,
        span_id=step.span_id,
        recorded=step.turn,
        unchanged=arm_of("unchanged", unchanged, recorded),
        changed=arm_of("changed", changed, recorded),
        differences=differences(unchanged, changed, recorded),
        rebuilt=step.rebuilt,
        redactions=step.redactions,
    )


def _keep(result: Forked, read: _Reading, target: str, trace: str, changes: Sequence[str]) -> None:
    """Record the fork as an experiment, so that it can be found again and cited."""
    import time

    from watchkeeper.cli.eval_run import eval_writer
    from watchkeeper.compose.redacting import captured
    from watchkeeper.compose.unlocking import unlock
    from watchkeeper.engines.recorder.journal import JournalFull
    from watchkeeper.records.experiment import Experiment
    from watchkeeper.records.ids import new_id

    now = time.time_ns()
    what = ", ".join(word if len(word) <= SHOWN_CHARS else word[:SHOWN_CHARS] + "…" for word in changes)
    unlock(read.settings, read.home)
    writer = captured(read.settings, read.home, eval_writer(read.home), "replay")
    try:
        writer.append(
            Experiment(
                experiment_id=new_id("exp", now),
                suite=f"fork of {trace} at step {result.step} with {what}",
                target=target,
                at_ns=now,
                end_ns=now,
                cases=1,
                errors=result.unchanged.failed + result.changed.failed,
                summary={each.what[:SHOWN_CHARS]: each.difference for each in result.differences},
            )
        )
    except JournalFull as error:
        click.echo(f"The result could not be recorded: {error}", err=True)
    finally:
        writer.close()


def _plain(result: Forked | Replayed) -> dict[str, Any]:
    from watchkeeper.queries.registry import as_plain

    plainly: dict[str, Any] = as_plain(result)
    return plainly


def _tell_replayed(result: Replayed) -> None:
    arm = result.arm
    click.echo(f"Step {result.step} ({result.span_id}): recorded, it {_said(result.recorded)}")
    _tell_provenance(result)
    _tell_failures(arm)
    rows = [
        ("does the same step", *_rate(arm.same_step)),
        ("uses the same tools", *_rate(arm.same_tools)),
        ("takes the same path to the end", *_rate(arm.same_path)),
        ("gives the same answer, to the letter", *_rate(arm.same_answer)),
    ]
    print_table(("again", "rate", "95% interval", "n"), rows, "")
    _tell_actions(arm)


def _tell_forked(result: Forked, changes: Sequence[str]) -> None:
    click.echo(f"Step {result.step} ({result.span_id}): recorded, it {_said(result.recorded)}")
    click.echo(f"Changed: {', '.join(plain(word)[:SHOWN_CHARS] for word in changes)}")
    _tell_provenance(result)
    for arm in (result.unchanged, result.changed):
        _tell_failures(arm)
    rows = [
        (
            each.what,
            f"{each.unchanged.value:.0%}",
            f"{each.changed.value:.0%}",
            f"{each.difference.value:+.0%}",
            f"{each.difference.low:+.0%} to {each.difference.high:+.0%}",
            f"{each.p_value:.2g}",
            each.verdict,
        )
        for each in result.differences
    ]
    print_table(("what", "unchanged", "changed", "difference", "95% interval", "p (Holm)", "verdict"), rows, "")
    n = min(result.unchanged.walks - result.unchanged.failed, result.changed.walks - result.changed.failed)
    click.echo(f"{n} walks on each side; tools were not run, recorded results stood in for them.")


def _tell_provenance(result: Forked | Replayed) -> None:
    if result.rebuilt:
        click.echo("  The request is rebuilt from its recorded messages; it is not byte-identical to what was sent.")
    if result.redactions:
        click.echo(f"  {result.redactions} places of the request were redacted at capture; replies may differ.")


def _tell_failures(arm: Arm) -> None:
    if arm.failed:
        click.echo(f"  {arm.failed} of {arm.walks} walks ({arm.name}) failed: {plain(arm.first_error)}", err=True)


def _tell_actions(arm: Arm) -> None:
    for action, count in arm.actions.items():
        click.echo(f"  {count} of {arm.walks - arm.failed}: {plain(action)[:SHOWN_CHARS]}")
    endings = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in arm.endings.items())
    click.echo(f"  ended: {endings}")


def _said(turn: Turn) -> str:
    if turn.calls:
        return f"called {plain(turn.action)[:SHOWN_CHARS]}"
    return f"answered {plain((turn.text or '')[:SHOWN_CHARS])!r}"


def _rate(estimate: Estimate) -> tuple[str, str, int]:
    if estimate.n == 0:
        return "unknown", "0% to 100%", 0
    return f"{estimate.value:.0%}", f"{estimate.low:.0%} to {estimate.high:.0%}", estimate.n
