"""The drills play on real servers: each holds, is told as promised, and leaves no process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.lab import drilling, processes

pytestmark = [pytest.mark.slow, pytest.mark.door]


def drill(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "watchkeeper", "drill", *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.parametrize("name", drilling.names())
def test_the_drill_holds(name: str) -> None:
    done = drill("run", name, "--json")
    (result,) = json.loads(done.stdout)
    assert result["held"] is True, f"{result['why']}\n{result['measured']}\n{done.stderr[-2000:]}"
    assert done.returncode == 0
    assert result["name"] == name
    assert result["scenario"] == drilling.drill(name).scenario
    assert result["measured"]
    assert name in done.stderr


def test_the_list_names_every_drill_with_its_promise() -> None:
    found: list[dict[str, Any]] = json.loads(drill("list", "--json").stdout)
    assert [each["name"] for each in found] == list(drilling.names())
    assert [each["promise"] for each in found] == [drilling.drill(each["name"]).promise for each in found]
    plain = drill("list").stdout
    assert all(each["name"] in plain and each["scenario"] in plain for each in found)


@pytest.mark.parametrize("words", [("run",), ("run", "--all", "runaway_loop"), ("run", "no_such_drill")])
def test_what_cannot_be_run_is_an_error_that_lists_the_drills(words: tuple[str, ...]) -> None:
    done = drill(*words)
    assert done.returncode == 2
    assert "runaway_loop" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_drill_that_is_interrupted_ends_its_servers(sign: signal.Signals, tmp_path: Path) -> None:
    said = tmp_path / "said"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as below a shell's background job; a child would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with said.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "watchkeeper", "drill", "run", "runaway_loop"],
            env={**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        below = _servers_of(process)
        process.send_signal(sign)
        process.wait(timeout=60)
        assert processes.wait_gone(below, 5.0) == (), said.read_text()
        assert process.returncode != 0
        assert "Traceback" not in said.read_text()
        assert not list(tmp_path.glob("watchkeeper-drill-*"))
    finally:
        processes.end(process, 10.0)


def _servers_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The drill's processes once gateway and store are among them."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        below = processes.descendants(process.pid)
        if {"gateway", "store"} <= {word for each in below for word in each.command.split()}:
            return [each.pid for each in below]
        time.sleep(0.05)
    raise AssertionError("the drill started no server")
