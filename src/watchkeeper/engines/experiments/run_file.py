"""Keeps a run in a file of its own while it goes on, so that one that was killed, stopped or capped can go on later.

The file holds what was begun (the suite as it was read, its cases, whom to ask and how), then a line for each answer
with its scores, each handed to the operating system before its scores are recorded: what kill -9 leaves is what was
answered. Scores have the same ids whenever they are given again, so that the record never holds one twice. A run that
has nothing left to ask leaves no file.

Limits: a power cut may take the last moments, which are then asked again. What was under way when a process died is
asked again too, and may have been charged twice; a cap in money counts it as spent. The file holds what models said, so
only its owner can read it, and erasing takes it away.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from watchkeeper.engines.experiments.results import Before, EndedBy, Outcome, Result
from watchkeeper.engines.experiments.suite import Suite
from watchkeeper.records.case import Case
from watchkeeper.records.experiment import Experiment
from watchkeeper.records.record import Record, as_json

VERSION = 1
SUFFIX = ".jsonl"


class RunFileError(Exception):
    """A kept run cannot be used or written; the message says which, why and what to do."""


class Begun(Record):
    """What was begun: enough to go on without the command that began it.

    `program` is the digest of a Python suite whose own function answers; `chosen` are the command's options.
    """

    experiment: Experiment
    path: str
    suite: Suite
    target: tuple[str | None, str | None] = (None, None)
    chosen: dict[str, Any] = {}
    config: str | None = None
    program: str | None = None
    version: int = VERSION


class _Line(Record):
    """One line of the file: one of these."""

    begun: Begun | None = None
    case: Case | None = None
    result: Result | None = None
    ended: EndedBy | None = None
    again: bool = False
    experiment: Experiment | None = None
    spent_usd: float | None = None


class Left(Record):
    """A run that can go on: what was begun, what has come, and how it ended last; `ended` None: its process died.

    `running` says that a process is at it now.
    """

    begun: Begun
    cases: tuple[Case, ...]
    before: Before
    ended: EndedBy | None = None
    spent_usd: float = 0.0
    running: bool = False

    @property
    def planned(self) -> int:
        """How many answers there are to be."""
        return len(self.cases) * self.begun.suite.repeats

    @property
    def failed(self) -> int:
        """How many calls failed; they are asked again."""
        return sum(result.error is not None for result in self.before.results)

    @property
    def answered(self) -> int:
        """How many answers have come."""
        return len(self.before.results) - self.failed

    @property
    def state(self) -> str:
        """How it stands, in words."""
        if self.running:
            return "running"
        words = {None: "killed", "stopped": "stopped", "cap": "at its cap", "all": "calls failed", "refused": "refused"}
        return words.get(self.ended, "ended")


class RunFile:
    """The file of one run, held by one process. Every method that writes raises `RunFileError`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._file = path, descriptor

    @classmethod
    def begin(cls, folder: Path, begun: Begun, cases: Sequence[Case]) -> Self:
        """Make the file of a run."""
        path = folder / f"{begun.experiment.experiment_id}{SUFFIX}"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            made = cls(path, os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o600))
        except OSError as error:
            raise RunFileError(_full(path, error)) from error
        made._lock()
        try:
            made._write(_Line(begun=begun), *(_Line(case=case) for case in cases))
        except RunFileError:
            path.unlink(missing_ok=True)
            made.close()
            raise
        return made

    @classmethod
    def open(cls, folder: Path, run: str) -> tuple[Self, Left]:
        """Take up the file of a run: no other process can until it is closed."""
        path = folder / f"{run}{SUFFIX}"
        try:
            held = cls(path, os.open(path, os.O_RDWR | os.O_APPEND))
        except OSError as error:
            raise RunFileError(f"{path} cannot be opened: {error.strerror}.") from error
        held._lock()
        try:
            data = path.read_bytes()
            os.ftruncate(held._file, data.rfind(b"\n") + 1)  # a line that was being written when its process died
        except OSError as error:
            held.close()
            raise RunFileError(_full(path, error)) from error
        left = _left(path, data)
        if left is None:
            held.close()
            raise RunFileError(f"{path} holds no run that can go on: it was killed while it began. Run the suite anew.")
        return held, left

    def again(self, experiment: Experiment) -> None:
        """The run goes on as this revision."""
        self._write(_Line(again=True, experiment=experiment))

    def answered(self, result: Result, spent_usd: float) -> None:
        """Keep an answer; `spent_usd` is what all of them cost."""
        self._write(_Line(result=result, spent_usd=spent_usd))

    def ended(self, outcome: Outcome, spent_usd: float) -> bool:
        """The run has ended: take the file away where nothing is left to ask; says whether something is."""
        done = outcome.ended_by == "verdict" or (outcome.ended_by == "all" and not outcome.experiment.errors)
        if done:
            self.path.unlink(missing_ok=True)
        else:
            self._write(_Line(ended=outcome.ended_by, experiment=outcome.experiment, spent_usd=spent_usd))
        return not done

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise RunFileError(
                f"the run {self.path.stem} goes on in another process. Wait for it, or stop it."
            ) from error

    def _write(self, *lines: _Line) -> None:
        data = b"".join(as_json(line) + b"\n" for line in lines)
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            raise RunFileError(_full(self.path, error)) from error


def runs_left(folder: Path) -> list[Left]:
    """The runs of a folder that can go on, or go on now, the newest first; what cannot be read is left out."""
    found = (_looked_at(path) for path in sorted(folder.glob(f"*{SUFFIX}"), reverse=True))
    return [each for each in found if each is not None]


def forget_runs(folder: Path, before_ns: int | None = None) -> int:
    """Take away the runs that were last written to before a moment, or all; says how many."""
    gone = 0
    for path in folder.glob(f"*{SUFFIX}"):
        if before_ns is None or path.stat().st_mtime_ns < before_ns:
            path.unlink(missing_ok=True)
            gone += 1
    return gone


def _looked_at(path: Path) -> Left | None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            left = _left(path, path.read_bytes())
            running = not _free(descriptor)
        finally:
            os.close(descriptor)
    except (OSError, RunFileError):
        return None
    return None if left is None else msgspec.structs.replace(left, running=running)


def _free(descriptor: int) -> bool:
    """Whether nobody holds the file; looking takes a shared lock, which is let go with the descriptor."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _left(path: Path, data: bytes) -> Left | None:
    """The run in a file; None where not even its cases are whole. Raises `RunFileError`."""
    begun: Begun | None = None
    experiment: Experiment | None = None
    cases: list[Case] = []
    results: dict[tuple[str, int], Result] = {}
    ended: EndedBy | None = None
    spent = 0.0
    for line in _lines(path, data):
        begun, experiment = line.begun or begun, line.experiment or experiment
        if line.case is not None:
            cases.append(line.case)
        if line.result is not None:
            results.pop((line.result.case_id, line.result.repeat), None)  # the last answer comes last
            results[line.result.case_id, line.result.repeat] = line.result
        ended = None if line.again else line.ended or ended
        spent = max(spent, line.spent_usd or 0.0)
    if begun is None or len(cases) < begun.experiment.cases:
        return None
    if begun.version > VERSION:
        raise RunFileError(f"{path} was written by a newer version. Go on with that one, or run the suite anew.")
    before = Before(experiment=experiment or begun.experiment, results=tuple(results.values()))
    return Left(begun=begun, cases=tuple(cases), before=before, ended=ended, spent_usd=spent)


def _lines(path: Path, data: bytes) -> Iterator[_Line]:
    decoder = msgspec.json.Decoder(_Line)
    whole: Iterable[bytes] = data[: data.rfind(b"\n") + 1].splitlines()
    for number, line in enumerate(whole, 1):
        try:
            yield decoder.decode(line)
        except msgspec.DecodeError as error:
            raise RunFileError(f"{path}:{number}: cannot be read: {error}. Run the suite anew.") from error


def _full(path: Path, error: OSError) -> str:
    return (
        f"the run cannot be kept in {path}: {error.strerror}. Free some space and go on with it (watchkeeper eval "
        f"resume {path.stem}), or run the suite again where it had not begun yet."
    )
