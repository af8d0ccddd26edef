"""Gates on cells: each cell of a suite's cases must be shown to be good enough, and none may be lost to a baseline.

A cell with too few items is not measured, which never passes. The intervals hold for all gated cells together
(Bonferroni); lost cells are tested over all cells together (Holm). See `maps`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from watchkeeper.analysis.cells import UNKNOWN, cell_of, text, told
from watchkeeper.engines.experiments import maps
from watchkeeper.engines.experiments.cell_spec import Cells
from watchkeeper.engines.experiments.compare import Side
from watchkeeper.engines.experiments.gates import Gate, Ruled
from watchkeeper.engines.experiments.maps import ALPHA, Measured
from watchkeeper.engines.experiments.results import Outcome, Result
from watchkeeper.records.capability_map import Key
from watchkeeper.records.case import Case
from watchkeeper.records.estimate import Estimate

SHOWN = 20


class CellFloor(Gate):
    """One cell must reach its floor: passed when its whole interval does, failed when none of it does.

    Answers without a score are told; where the cell would not pass with all of them wrong, it is not resolved.
    """

    def __init__(self, spec: Cells, key: Key, floor: float, confidence: float, cases: Mapping[str, Case]) -> None:
        """`cases` are those of the cell, by their ids."""
        self._spec, self._key, self._floor, self._confidence, self._cases = spec, key, floor, confidence, cases
        self.cell = told(spec.by, key)

    def __call__(self, outcome: Outcome) -> Ruled:
        """Rule on the cell's own answers."""
        score, problem = score_of(self._spec, outcome)
        gate = f"{score or 'a score'} at least {self._floor:g} in cell {self.cell}"
        if score is None:
            return Ruled(gate=gate, passed=None, sentence=problem, cell=self.cell)
        asked = [each for each in outcome.results if each.case_id in self._cases]
        values = {(each.case_id, each.repeat): value for each in asked if (value := _value(each, score)) is not None}
        answers = [
            Measured(self._key, case, self._cases[case].cluster, maps.right_of(value, self._spec.good))
            for (case, _), value in values.items()
        ]
        judged = maps.judge(self._key, answers, self._floor, self._confidence)
        passed = {"passing": True, "failing": False}.get(judged.state)
        said = self._said(judged.rate, judged.state)
        if missing := len(asked) - len(answers):
            said += f"; {missing} of {len(asked)} answers have no value and are not in it"
            worst = [*answers, *(Measured(self._key, f"missing {n}", None, 0.0) for n in range(missing))]
            if passed and maps.judge(self._key, worst, self._floor, self._confidence).state != "passing":
                passed, said = None, said + ", and if they were all wrong it would not pass"
        return Ruled(gate=gate, passed=passed, sentence=f"{said}.", cell=self.cell, rate=judged.rate)

    def _said(self, rate: Estimate | None, state: str) -> str:
        if UNKNOWN in self._key:
            return _rate(rate) + "; these cases do not say in which cell they are" if rate else "Not measured: no cases"
        if state != "unmeasured":
            return _rate(rate)
        needed = maps.items_needed(self._floor, self._confidence)
        told_n = 0 if rate is None else rate.n
        found = "" if rate is None else f" ({_rate(rate)})"
        return f"Not measured: {told_n} items{found}, and it takes {needed}, all of them right, to show {self._floor:g}"


class NoCellLost(Gate):
    """No cell may be shown to have become worse than in a baseline with the same cases, whatever the average did."""

    def __init__(self, spec: Cells, baseline: Side, cases: Sequence[Case]) -> None:
        self._spec, self._baseline = spec, baseline
        self._cells = {each.case_id: cell_of(each.attributes.get, spec.by) for each in cases}
        self._clusters = {each.case_id: each.cluster for each in cases}

    def __call__(self, outcome: Outcome) -> Ruled:
        """Compare cell by cell: a lost cell fails; one that only one of both has measured is not resolved."""
        gate = f"no cell lost against {self._baseline.name}"
        score, problem = score_of(self._spec, outcome)
        if score is None:
            return Ruled(gate=gate, passed=None, sentence=problem)
        before = self._measured((each.subject_id, each.value) for each in self._baseline.scores if each.name == score)
        after = self._measured((each.case_id, _value(each, score)) for each in outcome.results)
        if not before or not after:
            return Ruled(gate=gate, passed=None, sentence=f"They have no case with a score {score!r} in common.")
        found = maps.changes(before, after)
        by = self._spec.by
        lost = [each for each in found.cells if each.verdict == "lost"]
        alone = [each for each in found.cells if each.verdict.startswith("unmeasured")]
        said = [
            f"lost: {told(by, each.cell)} ({each.rate_a.value:.3g} became {each.rate_b.value:.3g}, difference "
            f"{each.difference.value:+.3g}, {each.difference.low:+.3g} to {each.difference.high:+.3g}, adjusted p = "
            f"{each.p_value:.2g})"
            for each in lost
            if each.rate_a is not None and each.rate_b is not None and each.difference is not None
        ]
        said += [
            f"{told(by, each.cell)} is not measured in {'this run' if each.verdict.endswith('B') else 'the baseline'}"
            for each in alone
        ]
        if len(said) > SHOWN:
            said[SHOWN:] = [f"and {len(said) - SHOWN} more"]
        compared = len(found.cells) - len(alone)
        gained = sum(each.verdict == "gained" for each in found.cells)
        said.append(f"{compared} cells compared, {len(lost)} lost, {gained} gained")
        return Ruled(gate=gate, passed=False if lost else None if alone else True, sentence="; ".join(said) + ".")

    def _measured(self, values: Iterable[tuple[str, float | None]]) -> list[Measured]:
        good = self._spec.good
        found: list[Measured] = []
        for case, value in values:
            if case in self._cells and value is not None:
                found.append(Measured(self._cells[case], case, self._clusters[case], maps.right_of(value, good)))
        return found


def gates_on(spec: Cells, cases: Sequence[Case], baseline: Side | None) -> list[Gate]:
    """The gates of a suite's cells: the named ones, the others that its cases show, and none lost to a baseline.

    Raises `ValueError` for more cells than anybody can read.
    """
    shown: dict[Key, dict[str, Case]] = defaultdict(dict)
    for case in cases:
        shown[cell_of(case.attributes.get, spec.by)][case.case_id] = case
    named = {tuple(text(each.cell[name]) for name in spec.by): each.floor or spec.floor for each in spec.named}
    floors = dict(named)
    if spec.others == "required":
        floors |= {key: spec.floor for key in sorted(shown) if key not in named}
    if len(floors) > maps.MOST_CELLS:
        raise ValueError(
            f"`gates.cells`: {len(floors):,} cells are more than {maps.MOST_CELLS:,}; take a coarser `by`."
        )
    confidence = 1 - ALPHA / len(floors)
    gates: list[Gate] = [CellFloor(spec, key, floor, confidence, shown.get(key, {})) for key, floor in floors.items()]
    return gates if baseline is None else [*gates, NoCellLost(spec, baseline, cases)]


def score_of(spec: Cells, outcome: Outcome) -> tuple[str | None, str]:
    """The score that counts, or why it is not known which."""
    known = sorted({score.name for each in outcome.results for score in each.scores})
    if spec.score is not None:
        if spec.score in known:
            return spec.score, ""
        return None, f"No answer has a score {spec.score!r}; there are: {', '.join(known) or 'none'}."
    if len(known) == 1:
        return known[0], ""
    return None, f"Name the score of the cells with `gates.cells.score`; there are: {', '.join(known) or 'none'}."


def _value(result: Result, score: str) -> float | None:
    return next((each.value for each in result.scores if each.name == score), None)


def _rate(rate: Estimate | None) -> str:
    if rate is None:
        return "no answer"
    return f"{rate.value:.3g} ({rate.confidence:.2%} interval {rate.low:.3g} to {rate.high:.3g}, n = {rate.n})"
