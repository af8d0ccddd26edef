"""The demo: recorded agents play through a real server, drills are run, and a dozen lines say what came of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from watchkeeper.lab import processes
from watchkeeper.lab.playing import Played, Sandbox, play_recorded, play_sandbox, tell_outcomes
from watchkeeper.lab.provider import sample_config
from watchkeeper.lab.runs import load_runs
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.stage import Result, Say
from watchkeeper.lab.telling import Story, lines
from watchkeeper.lab.watch import DoorError, Watch, free_port, is_free, lab_settings

DEFAULT_LISTEN = "127.0.0.1:8787"
KEPT_DATA = Path(".watchkeeper-demo")
DEMO_DRILLS = ("runaway_loop", "reconstruct_decision", "green_dashboard", "what_would_change")
"""The quick ones; `watchkeeper drill run --all` plays all of them, which takes minutes rather than seconds."""
DRILL_TIMEOUT_S = 300.0
DRILL_END_S = 30.0
POLL_S = 0.2
CAP_USD = 0.5
SETTINGS = f"""
[[policies]]
use = "loop"
with = {{ action = "stop" }}

[[policies]]
use = "budget"
name = "run-money"
with = {{ per = "run", usd = {CAP_USD}, on_unknown_price = "allow" }}

[[monitors]]
use = "slo"
name = "tasks"
owner = "demo"
with = {{ signal = "outcome", objective = 0.9 }}
"""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How to demonstrate. `once` ends by itself; `data` None is a temporary folder then, else `./.watchkeeper-demo`.

    `listen` None is 127.0.0.1:8787, or a free port when that is taken; port 0 is any free port.
    """

    once: bool
    data: Path | None = None
    listen: str | None = None


def run_demo(plan: Plan, say: Say, tell: Callable[[str], None]) -> bool:
    """Play, drill, tell; keep serving unless `once`. Says whether everything held.

    `say` gets progress, `tell` the lines of the answer. Everything that was started has ended when this returns or
    raises; a temporary data directory is gone. Raises `DoorError` when the server cannot be used.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="watchkeeper-demo-")))
        data = plan.data or (scratch / "data" if plan.once else KEPT_DATA)
        tag = f".{time.strftime('%H%M%S')}" if data.exists() else ""
        drills = stack.enter_context(_Drills(scratch))
        lab = stack.enter_context(LabServer(sample_config()))
        settings = lab_settings(lab.base_url, max_output_tokens=1024) + SETTINGS
        watch = stack.enter_context(Watch(scratch / "server", settings, listen=_listen(plan, say), data=data))
        say(f"the server is at {watch.root_url}, with its data in {data}; drills run beside it on servers of their own")
        played, sandbox = _play(watch, tag, drills, say)
        results = drills.results(say)
        story = _story(watch, played, sandbox, results, time.monotonic() - began)
        for line in lines(story, kept=not plan.once):
            tell(line)
        if not plan.once:
            _keep(watch, lab, data, tell)
    return story.held


def _listen(plan: Plan, say: Say) -> str:
    if plan.listen is not None:
        host, _, port = plan.listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise DoorError(f"--listen is {plan.listen!r}; expected host:port, for example {DEFAULT_LISTEN}.")
        return plan.listen if int(port) else f"{host}:{free_port()}"
    host, _, port = DEFAULT_LISTEN.rpartition(":")
    if is_free(host, int(port)):
        return DEFAULT_LISTEN
    other = f"{host}:{free_port()}"
    say(f"{DEFAULT_LISTEN} is taken, so this demo uses {other}")
    return other


def _play(watch: Watch, tag: str, drills: _Drills, say: Say) -> tuple[tuple[Played, ...], Sandbox]:
    runs = load_runs()

    def done(count: int) -> None:
        drills.pass_on(say)
        if count % 12 == 0 or count == len(runs):
            say(f"played {count} of {len(runs)} recorded runs")

    played = play_recorded(watch, runs, tag, done)
    sandbox = play_sandbox(watch, tag)
    told = tell_outcomes(watch, played)
    say(f"played the two sandbox agents; {told} recorded outcomes are told, the monitors look")
    watch.flush()
    watch.post("/api/v1/monitors/run")
    watch.flush()
    return played, sandbox


def _story(
    watch: Watch, played: tuple[Played, ...], sandbox: Sandbox, results: tuple[Result, ...], took_s: float
) -> Story:
    """Ask the server for everything that is told."""
    verified = watch.cli("verify", expect=(0, 1))
    writers: list[dict[str, Any]] = verified["writers"]
    return Story(
        url=watch.root_url,
        played=played,
        sandbox=sandbox,
        results=results,
        overview=watch.get("/api/v1/overview")["items"][0],
        models=watch.get("/api/v1/models")["items"],
        denials=watch.get("/api/v1/decisions?verdict=deny")["items"],
        incidents=watch.get("/api/v1/incidents?status=open")["items"],
        findings=watch.get("/api/v1/findings")["items"],
        verified=bool(verified["holds"]),
        frames=sum(writer["frames"] for writer in writers),
        journal_bytes=sum(path.stat().st_size for path in (watch.data / "journal").rglob("*") if path.is_file()),
        took_s=took_s,
    )


def _keep(watch: Watch, lab: LabServer, data: Path, tell: Callable[[str], None]) -> None:
    """Serve until Ctrl-C, or until the server ends by itself."""
    tell(
        f"Serving until Ctrl-C. Try a client with base_url {watch.base_url}, which leads to the lab at {lab.base_url};"
    )
    tell(f"ask with: watchkeeper ask traces --data {data}")
    while not watch.ended():
        time.sleep(POLL_S)
    raise DoorError("The server has ended by itself. Start the demo again.")


class _Drills:
    """The demo's drills in a process of their own, started with the block and ended with it."""

    def __init__(self, folder: Path) -> None:
        self._answer, self._progress = folder / "drills.json", folder / "drills.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._said = 0

    def __enter__(self) -> _Drills:
        with self._answer.open("wb") as answer, self._progress.open("wb") as progress:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "watchkeeper", "drill", "run", *DEMO_DRILLS, "--json"],
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=progress,
                start_new_session=True,  # Ctrl-C reaches us, and we end it in order
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            processes.end(self._process, DRILL_END_S)

    def results(self, say: Say) -> tuple[Result, ...]:
        """Wait for the drills and read their results, passing their progress on; raises `DoorError` for none."""
        assert self._process is not None
        deadline = time.monotonic() + DRILL_TIMEOUT_S
        while self._process.poll() is None and time.monotonic() < deadline:
            self.pass_on(say)
            time.sleep(POLL_S)
        self.pass_on(say)
        try:
            return msgspec.json.decode(self._answer.read_bytes(), type=tuple[Result, ...])
        except msgspec.DecodeError as error:
            end = self._progress.read_bytes()[-1000:].decode("utf-8", "replace")
            raise DoorError(f"The drills gave no answer within {DRILL_TIMEOUT_S:g} s. They said last: {end}") from error

    def pass_on(self, say: Say) -> None:
        """Say the lines of progress that are whole and were not said before."""
        fresh = self._progress.read_bytes()[self._said :]
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._said += len(whole)
        for line in whole.decode("utf-8", "replace").splitlines():
            say(f"drill: {line.strip()}")
