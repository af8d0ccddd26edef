"""Commands for jobs: submit, list, show, watch, cancel, resume."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table, when

if TYPE_CHECKING:
    from watchkeeper.cli.door import Door

POLL_S = 0.5
GOOD = frozenset({"completed-verified", "completed-unverified"})


@click.group()
def jobs() -> None:
    """Submit, watch, cancel and resume work that takes minutes."""


@jobs.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--key", help="An idempotency key: the same file under the same key is the same job.")
@click.option("--watch", "watched", is_flag=True, help="Stay, and tell how it goes on.")
@house_options
def submit(file: Path, key: str | None, watched: bool, data: str | None, config: Path | None, as_json: bool) -> None:
    """Submit the job in FILE (JSON; '-' for standard input).

    Without a server the job waits until one is started. With --watch the exit code is 1 when it did not complete.
    """
    from watchkeeper.cli.door import open_door

    value = _read(file)
    headers = {} if key is None else {"Idempotency-Key": key}
    with open_door(config, data) as door:
        job = door.post("/api/v1/jobs", value, headers).json()
        if watched and door.remote:
            raise SystemExit(_follow(door, job["id"], as_json))
        if not door.remote:
            click.echo("No server runs here; the job waits until one is started.", err=True)
    if as_json:
        print_json(job)
    else:
        click.echo(f"{job['id']} is {job['status']}.")


@jobs.command("list")
@click.option("--status", type=click.Choice(["queued", "running", "waiting", "ended"]), help="Only there now.")
@click.option("--outcome", help="Only with this outcome: completed-verified, needs-input, unknown ...")
@click.option("--since", help="Only moved since: 24h, 7d, or a date.")
@click.option("--limit", default=100, show_default=True, help="At most this many.")
@house_options
def list_(
    status: str | None,
    outcome: str | None,
    since: str | None,
    limit: int,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """List jobs in their latest state, the last moved first."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        door.flush()
        answer = door.ask("jobs", {"status": status, "outcome": outcome, "since": since, "limit": limit})
    if as_json:
        print_json(answer)
        return
    rows = [
        (row["job_id"], row["status"], row["outcome"], when(row["at_ns"]), _share(row["progress"]), row["message"])
        for row in answer["items"]
    ]
    print_table(("id", "status", "outcome", "moved (UTC)", "progress", "message"), rows, "There are no jobs.", True)


@jobs.command()
@click.argument("job_id")
@click.option("--require", type=click.Choice(["any", "verified"]), default="any", help="Take only verified output.")
@house_options
def show(job_id: str, require: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """Show the job JOB_ID with its checks and its output.

    Exit code 1 when only verified output is taken and this is not.
    """
    from watchkeeper.cli.door import open_door

    wants = {"require": require} if require == "verified" else None
    with open_door(config, data) as door:
        reply = door.get(f"/api/v1/jobs/{quote(job_id, safe='')}", wants)
    withheld = reply.status == 409
    answer = json.loads(reply.body) if withheld else reply.json()
    job = answer["job"] if withheld else answer
    if as_json:
        print_json(answer)
    else:
        _tell(job)
        if withheld:
            click.echo(plain(answer["error"]["message"]), err=True)
    raise SystemExit(1 if withheld else 0)


@jobs.command()
@click.argument("job_id")
@house_options
def watch(job_id: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """Tell how the job JOB_ID goes on, until it has ended or waits for an answer. Ctrl-C leaves the job alone.

    Exit code 1 when it did not complete.
    """
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        if not door.remote:
            raise Failure("No server runs here, so no job goes on. Start one: watchkeeper serve.", "no_server")
        raise SystemExit(_follow(door, job_id, as_json))


@jobs.command()
@click.argument("job_id")
@house_options
def cancel(job_id: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """End the job JOB_ID: its run can claim no further effect. Tells which of its effects are not settled."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        job = door.post(f"/api/v1/jobs/{quote(job_id, safe='')}/cancel").json()
    if as_json:
        print_json(job)
        return
    click.echo(f"{job['id']} is {job['outcome']}; {len(job['unsettled'])} effects of its run are not settled.")
    for each in job["unsettled"]:
        click.echo(f"  {each['effect_id']}  {each['status']:<8} {plain(each['tool'])} {plain(each['object'])}")


@jobs.command()
@click.argument("job_id")
@click.option("--input", "given", help="The answer to the job's question.")
@click.option("--retry", is_flag=True, help="Make a call again whose end is unknown; it may be charged twice.")
@house_options
def resume(job_id: str, given: str | None, retry: bool, data: str | None, config: Path | None, as_json: bool) -> None:
    """Let the job JOB_ID go on: with an answer to its question, or after its outcome was unknown."""
    from watchkeeper.cli.door import open_door

    sent: dict[str, Any] = {"on_unknown": "retry"} if retry else {}
    if given is not None:
        sent["input"] = given
    with open_door(config, data) as door:
        job = door.post(f"/api/v1/jobs/{quote(job_id, safe='')}/resume", sent).json()
    if as_json:
        print_json(job)
    else:
        click.echo(f"{job['id']} is {job['status']}.")


def _follow(door: Door, job_id: str, as_json: bool) -> int:
    """Tell how a job goes on; the exit code."""
    seen = -1
    while True:
        job = door.get(f"/api/v1/jobs/{quote(job_id, safe='')}").json() if door.remote else {}
        if job["revision"] != seen:
            seen = job["revision"]
            if not as_json or sys.stderr.isatty():
                click.echo(_line(job), err=True)
        if job["status"] in ("ended", "waiting"):
            break
        time.sleep(POLL_S)
    if as_json:
        print_json(job)
    else:
        _tell(job)
    return 0 if job["outcome"] in GOOD else 1


def _line(job: dict[str, Any]) -> str:
    where = f" at {plain(job['step'])}" if job.get("step") else ""
    return f"{_share(job['progress']):>5}  {job['outcome'] or job['status']}{where}  {plain(job['message'] or '')}"


def _tell(job: dict[str, Any]) -> None:
    click.echo(f"{job['id']}: {job['status']}, outcome {job['outcome'] or 'not known yet'}")
    if job.get("message"):
        click.echo(plain(job["message"]))
    if job.get("question"):
        click.echo(f"It asks: {plain(job['question'])}")
    cost = "unknown" if job.get("cost_usd") is None else f"${job['cost_usd']:.6g}"
    click.echo(f"model {plain(job.get('model'))}, cost {cost}, trace {job['trace_id']}")
    for check in job.get("checks", []):
        held = {True: "held", False: "did not hold"}.get(check.get("held"), "not judged")
        click.echo(f"  {held:<13} {plain(check['name'])}: {plain(check.get('explanation') or '')}")
    output = job.get("output")
    if output is not None:
        click.echo("")
        click.echo(output["missing"] or "\n".join(plain(line) for line in str(output["text"]).splitlines()))


def _read(file: Path) -> Any:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}. Name the JSON file of a job.") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise Failure(f"{file} is not JSON: {error}.") from error


def _share(progress: float | None) -> str:
    return "–" if progress is None else f"{100 * progress:.0f}%"
