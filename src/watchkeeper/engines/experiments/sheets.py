"""Makes a run into a sheet for other tools: which cases passed, what the gates ruled, what differs from before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from watchkeeper.engines.experiments.compare import Compared, Side
from watchkeeper.engines.experiments.results import Outcome, Result
from watchkeeper.records.case import Case
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.manifest import Manifest
from watchkeeper.records.sheet import Line, Ruling, Sheet, Verdict

_KEPT = 2000
_POWER = 2.8016
"""The normal quantiles of 0.975 and 0.8 together: two-sided 5%, found 4 times in 5."""


def sheet_of(
    outcome: Outcome,
    path: str,
    cases: Sequence[Case],
    bars: Mapping[str, float],
    rulings: Sequence[Ruling] = (),
) -> Sheet:
    """The sheet of a run. `bars` are what scores must reach; a score that is only 0 or 1 has its bar at 1."""
    expected = {case.case_id: case.expected for case in cases}
    experiment = outcome.experiment
    binary = _binary(outcome.results)
    wanted = {**{name: 1.0 for name in binary if name not in bars}, **bars}
    return Sheet(
        suite=experiment.suite,
        target=experiment.target,
        experiment_id=experiment.experiment_id,
        path=path,
        at_ns=experiment.at_ns,
        lines=tuple(_line(result, expected.get(result.case_id), wanted) for result in outcome.results),
        summary=experiment.summary,
        effects={name: rerun_effect(mean) for name, mean in experiment.summary.items()},
        rulings=tuple(rulings),
        spent_usd=experiment.spent_usd,
        ended=outcome.why or ("it was stopped" if outcome.stopped else None),
    )


def rerun_effect(mean: Estimate) -> float | None:
    """The smallest true difference that this run and another, independent one of its size would show 4 times in 5.

    From the width of the mean's interval, taken as a normal one, at two-sided 5%: (1.960 + 0.842) sqrt(2) standard
    errors. None where the interval says nothing. A comparison case by case usually shows less.
    """
    width = mean.high - mean.low
    if not math.isfinite(width) or mean.n < 2 or not 0 < mean.confidence < 1:
        return None
    from statistics import NormalDist

    error = width / 2 / NormalDist().inv_cdf(0.5 + mean.confidence / 2)
    return _POWER * math.sqrt(2) * error


def verdicts_of(compared: Sequence[Compared], before: Side, after: Side) -> tuple[Verdict, ...]:
    """The comparisons as verdicts, each with the cases that fell, the deepest first."""
    return tuple(
        Verdict(
            score=each.score,
            verdict=each.comparison.verdict,
            n=each.comparison.n,
            difference=each.comparison.difference,
            p_value=each.comparison.p_value,
            minimum_detectable_effect=each.comparison.minimum_detectable_effect,
            improved=each.comparison.improved,
            worsened=each.comparison.worsened,
            mean_a=each.comparison.mean_a,
            mean_b=each.comparison.mean_b,
            regressed=_fell(each.score, before, after),
        )
        for each in compared
    )


def changes_of(
    before: Manifest | None, after: Manifest | None
) -> tuple[tuple[str, str | None, str | None], ...] | None:
    """The layers of two compositions that differ: name, before, now (None: not there); None where one is not known."""
    if before is None or after is None:
        return None
    old, new = before.components, after.components
    return tuple(
        (name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def _fell(score: str, before: Side, after: Side) -> tuple[str, ...]:
    old, new = _means(score, before), _means(score, after)
    fallen = sorted((new[case] - old[case], case) for case in old.keys() & new.keys() if new[case] < old[case])
    return tuple(case for _, case in fallen)


def _means(score: str, side: Side) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for each in side.scores:
        if each.name == score and each.value is not None:
            values.setdefault(each.subject_id, []).append(each.value)
    return {case: sum(found) / len(found) for case, found in values.items()}


def _binary(results: Sequence[Result]) -> set[str]:
    """The scores whose every value is 0 or 1."""
    seen: dict[str, bool] = {}
    for result in results:
        for score in result.scores:
            if score.value is not None:
                seen[score.name] = seen.get(score.name, True) and score.value in (0.0, 1.0)
    return {name for name, only in seen.items() if only}


def _line(result: Result, expected: str | None, bars: Mapping[str, float]) -> Line:
    scores = {score.name: score.value for score in result.scores}
    judged = [(name, value) for name, value in scores.items() if value is not None and name in bars]
    told = [score.explanation for score in result.scores if score.explanation]
    name = result.case_id if result.repeat == 0 else f"{result.case_id} (rerun {result.repeat})"
    return Line(
        case_id=name,
        passed=all(value >= bars[each] for each, value in judged) if judged and result.error is None else None,
        scores=scores,
        expected=None if expected is None else expected[:_KEPT],
        said=None if result.output is None else result.output[:_KEPT],
        problem=result.error,
        explanation="; ".join(told)[:_KEPT] or None,
        duration_ns=result.duration_ns,
    )
