"""What a run comes to, as other tools read it: one line for each case, and the rulings of its gates."""

from __future__ import annotations

from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record


class Line(Record):
    """One case: whether it passed (None: not judged, `problem` says why), its scores, and how long it took.

    A case passes when every score of it is at its suite's bar; `said` is what came instead of what was expected.
    """

    case_id: str
    passed: bool | None
    scores: dict[str, float | None] = {}
    expected: str | None = None
    said: str | None = None
    problem: str | None = None
    explanation: str | None = None
    duration_ns: int = 0


class Ruling(Record):
    """What a gate made of the run. `passed` None: the evidence does not say."""

    gate: str
    passed: bool | None
    sentence: str


class Verdict(Record):
    """The comparison of one score with the baseline's."""

    score: str
    verdict: str
    n: int
    difference: Estimate
    p_value: float
    minimum_detectable_effect: float | None
    improved: int
    worsened: int
    mean_a: float
    mean_b: float
    regressed: tuple[str, ...] = ()


class Sheet(Record):
    """One run. `path` is the suite's file; `changes` are the components of the composition that differ from the
    baseline's, None where the composition of one of them is not known.

    `ended` says why not all cases were asked, None where they were.
    """

    suite: str
    target: str
    experiment_id: str
    path: str
    at_ns: int
    lines: tuple[Line, ...]
    summary: dict[str, Estimate] = {}
    effects: dict[str, float | None] = {}
    rulings: tuple[Ruling, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    baseline: str | None = None
    changes: tuple[tuple[str, str | None, str | None], ...] | None = ()
    spent_usd: float | None = None
    ended: str | None = None
