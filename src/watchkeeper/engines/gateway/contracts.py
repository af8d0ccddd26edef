"""Reads what a caller declares of its run: what it is done at, and how many steps it may take."""

from __future__ import annotations

from collections.abc import Mapping

from watchkeeper.records.record import Scalar

DONE, STEPS = b"x-watchkeeper-run-done", b"x-watchkeeper-run-steps"
_LONGEST = 500
_DIGITS = 9


def declared(headers: Mapping[bytes, bytes]) -> dict[str, Scalar]:
    """The attributes `run.done` and `run.steps` of an event; what cannot be read is as if it had not been sent."""
    if DONE not in headers and STEPS not in headers:
        return {}
    found: dict[str, Scalar] = {}
    done = headers.get(DONE, b"").decode("utf-8", "replace").strip()
    if done and len(done) <= _LONGEST and done.isprintable():
        found["run.done"] = done
    steps = headers.get(STEPS, b"").strip()
    if steps.isdigit() and len(steps) <= _DIGITS and int(steps):
        found["run.steps"] = int(steps)
    return found
