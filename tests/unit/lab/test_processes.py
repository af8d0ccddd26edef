"""Processes are found and ended by their id, with everything below them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from watchkeeper.lab import processes

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
PARENT = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(60)\n"
)


def start(code: str) -> tuple[subprocess.Popen[bytes], str]:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process, process.stdout.readline().decode().strip()


def test_children_are_found_with_their_command_lines() -> None:
    process, child = start(PARENT)
    try:
        found = processes.descendants(os.getpid())
        assert {process.pid, int(child)} <= {each.pid for each in found}
        deadline = time.monotonic() + 20  # a child has its parent's command line until it has begun its own
        while not any(each.pid == int(child) and "time.sleep(60)" in each.command for each in found):
            assert time.monotonic() < deadline, found
            found = processes.descendants(os.getpid())
        assert [each.pid for each in processes.descendants(process.pid)] == [int(child)]
    finally:
        processes.end(process, 5.0)
    process.stdout.close()  # type: ignore[union-attr]


def test_ending_a_process_ends_what_is_below_it() -> None:
    process, child = start(PARENT)
    processes.end(process, 5.0)
    assert processes.wait_gone([process.pid, int(child)], 5.0) == ()
    process.stdout.close()  # type: ignore[union-attr]


def test_a_process_that_will_not_end_is_killed_and_that_is_told() -> None:
    process, said = start(STUBBORN)
    assert said == "up"
    assert processes.end(process, 0.1) is False
    assert process.returncode == -signal.SIGKILL
    process.stdout.close()  # type: ignore[union-attr]


def test_one_that_has_ended_is_not_alive_though_nobody_has_waited_for_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 10
    while processes.alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not processes.alive(process.pid)
    process.wait()


def test_killing_one_that_is_gone_is_no_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    processes.kill([process.pid])
