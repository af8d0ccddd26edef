"""The commands of the lab: a scriptable stand-in for paid models, and a test of caps for any gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from watchkeeper.cli.options import Failure, plain, print_json


@click.group()
def lab() -> None:
    """Run the lab provider: a scriptable stand-in that is not a model."""


@lab.command("serve")
@click.option("--listen", default="127.0.0.1:8788", show_default=True, help="Address and port.")
@click.option(
    "--script", type=click.Path(path_type=Path), help="Rules that answer (YAML), instead of the sandbox agents' script."
)
@click.option(
    "--recordings", type=click.Path(path_type=Path), help="Recorded runs (JSON lines, gzip too), instead of the sample."
)
def serve(listen: str, script: Path | None, recordings: Path | None) -> None:
    """Serve an OpenAI-compatible endpoint that replays recordings and answers from a script, until Ctrl-C.

    A request that neither knows is a 404. The model lab-tiny is real, very small, and answers by itself. The header
    x-lab-fault plants faults, for example error:429, cut:3 or hang.
    """
    from watchkeeper.lab.provider import LabConfig
    from watchkeeper.lab.runs import RecordingError, load_runs
    from watchkeeper.lab.script import ScriptError, load_script, sandbox_rules
    from watchkeeper.lab.serving import serve as serve_lab

    host, found, port = listen.rpartition(":")
    if not found or not port.isdigit():
        raise Failure(f"--listen is {listen!r}; expected host:port, for example 127.0.0.1:8788.")
    try:
        runs = load_runs(recordings)
        rules = sandbox_rules() if script is None else load_script(script)
    except (RecordingError, ScriptError) as error:
        raise Failure(str(error)) from error
    except OSError as error:
        raise Failure(f"{error.filename} cannot be read: {error.strerror}. Name a file that you may read.") from error
    click.echo(
        f"The lab answers at http://{listen}/v1 with {len(runs)} recorded runs and {len(rules)} script rules. "
        f"It is not a model, but for lab-tiny, a very small one. Its invented prices: http://{listen}/lab/price-table"
    )
    try:
        serve_lab(LabConfig(recordings=tuple(runs), rules=rules), host.strip("[]"), int(port))
    except OSError as error:
        raise Failure(f"{listen} cannot be listened on: {error.strerror}. Name another with --listen.") from error


@lab.command("overspend")
@click.option("--target", required=True, help="The gateway under test: its base URL, usually ending in /v1.")
@click.option("--key", help="The key that has the cap, sent as bearer token.")
@click.option("--cap-usd", required=True, type=click.FloatRange(min=0, min_open=True), help="The cap, in US dollars.")
@click.option("--model", default="lab-reasoning", show_default=True, help="The model to ask for.")
@click.option("--calls", default=200, show_default=True, help="Calls in each wave, at most 10,000.")
@click.option("--concurrency", default=200, show_default=True, help="Calls at once, at most 1,000.")
@click.option("--sessions", default=1, show_default=True, help="Sessions and users that the calls name in turn.")
@click.option("--waves", default=1, show_default=True, help="How often all calls are fired.")
@click.option("--max-tokens", default=200, show_default=True, help="Output tokens that each call asks for.")
@click.option("--stream", is_flag=True, help="Ask for streams.")
@click.option("--input-usd-per-million", default=10.0, show_default=True, help="The price that the gateway has.")
@click.option("--output-usd-per-million", default=40.0, show_default=True, help="The price that the gateway has.")
@click.option(
    "--upstream", "at", default="127.0.0.1:8799", show_default=True, help="Where the metering upstream listens."
)
@click.option("--beyond-loopback", is_flag=True, help="Fire at another machine, which its owner has agreed to.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def overspend(at: str, beyond_loopback: bool, as_json: bool, **wanted: Any) -> None:
    """Fire concurrent calls at a gateway and measure how far they spend past a cap.

    The gateway must be set up to use the metering upstream that this command serves, http://127.0.0.1:8799/v1.
    Exit code 0: the cap held; 1: it was overspent; 2: it could not be tested.
    """
    from watchkeeper.lab.overspend import Plan, is_loopback, run, upstream

    try:
        plan = Plan(**wanted)
    except ValueError as error:
        raise Failure(str(error), "bad_parameter") from error
    if not beyond_loopback and not is_loopback(plan.target):
        raise Failure(
            f"{plan.target} is not on this machine. Load is fired at loopback only, unless you pass --beyond-loopback "
            "because the owner of that machine has agreed.",
            "beyond_loopback",
        )
    try:
        with upstream(_port(at)) as metering:
            click.echo(f"The metering upstream answers at {metering.base_url}; it is not a model.", err=True)
            found = run(plan, metering, lambda line: click.echo(line, err=True))
    except OSError as error:
        raise Failure(f"{at} cannot be listened on: {error.strerror}. Name another with --upstream.") from error
    if as_json:
        print_json(found)
    else:
        click.echo(f"{found.verdict}: {plain(found.why)}")
        refused = ", ".join(f"{count} x {code}" for code, count in found.refused.items()) or "none"
        click.echo(f"{found.answered} of {found.calls} calls were answered; refused: {refused}.")
        click.echo(f"The dearest call cost ${found.call_usd:.6f}; {found.concurrency} were made at once.")
    raise SystemExit({"held": 0, "overspent": 1}.get(found.verdict, 2))


def _port(at: str) -> int:
    host, _, port = at.rpartition(":")
    if host not in ("127.0.0.1", "localhost") or not port.isdigit():
        raise Failure(f"--upstream is {at!r}; expected an address of this machine, for example 127.0.0.1:8799.")
    return int(port)
