"""Counts answers by whether they are right and whether their reasons hold, with the rate that accuracy never shows.

The two-by-two table of right or wrong answers and supported or unsupported reasons, and the rate of right answers with
unsupported reasons among all that could be judged on both sides: Wilson's interval, or the cluster-robust one where
items hang together. What could not be judged is counted apart and is in no rate: the rate is one of those judged, and
`unjudged` says how many it says nothing of.

Limits: cohorts are told one by one, each with its own interval at the same confidence; of twenty cohorts one is
expected outside its interval. Whether a cohort differs from the others is told by `apart`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from watchkeeper.analysis.intervals import clustered_rate, wilson
from watchkeeper.analysis.multiplicity import holm
from watchkeeper.analysis.two_proportions import fisher_exact
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record


class Judged(NamedTuple):
    """One answer: is it right, do its reasons hold (None: not known), its cohort and its cluster."""

    right: bool | None
    supported: bool | None
    cohort: str = "all"
    cluster: Hashable | None = None


class Table(Record):
    """The two-by-two of a cohort.

    `accuracy` is of the answers whose rightness is known; `overclaim` the rate of right answers with unsupported
    reasons among those judged on both sides, `of_right` the same among the right ones only. `apart` is the adjusted
    p-value (Holm, over the cohorts) that the cohort's overclaim rate is that of the others; None for the whole.
    """

    cohort: str
    right_supported: int
    right_unsupported: int
    wrong_supported: int
    wrong_unsupported: int
    unjudged: int
    accuracy: Estimate
    overclaim: Estimate
    of_right: Estimate
    apart: float | None = None

    @property
    def judged(self) -> int:
        """How many answers were judged on both sides."""
        return self.right_supported + self.right_unsupported + self.wrong_supported + self.wrong_unsupported


def table(answers: Sequence[Judged], cohort: str = "all", apart: float | None = None) -> Table:
    """The table of some answers, taken together."""
    both = [each for each in answers if each.right is not None and each.supported is not None]
    known = [each for each in answers if each.right is not None]

    def count(right: bool, supported: bool) -> int:
        return sum(each.right is right and each.supported is supported for each in both)

    return Table(
        cohort=cohort,
        right_supported=count(True, True),
        right_unsupported=count(True, False),
        wrong_supported=count(False, True),
        wrong_unsupported=count(False, False),
        unjudged=len(answers) - len(both),
        accuracy=_rate([(bool(each.right), each.cluster) for each in known]),
        overclaim=_rate([(bool(each.right and not each.supported), each.cluster) for each in both]),
        of_right=_rate([(not each.supported, each.cluster) for each in both if each.right]),
        apart=apart,
    )


def tables(answers: Iterable[Judged]) -> tuple[Table, ...]:
    """The table of all answers, then one for each cohort in the order of their names, where there are several."""
    every = list(answers)
    cohorts = sorted({each.cohort for each in every})
    if len(cohorts) < 2:
        return (table(every),)
    parts = [[each for each in every if each.cohort == name] for name in cohorts]
    rests = [[each for each in every if each.cohort != name] for name in cohorts]
    adjusted = holm([fisher_exact(*_counts(part), *_counts(rest)) for part, rest in zip(parts, rests, strict=True)])
    return (table(every), *(table(part, name, p) for part, name, p in zip(parts, cohorts, adjusted, strict=True)))


def _counts(answers: Sequence[Judged]) -> tuple[int, int]:
    both = [each for each in answers if each.right is not None and each.supported is not None]
    return sum(bool(each.right and not each.supported) for each in both), len(both)


def _rate(values: Sequence[tuple[bool, Hashable | None]]) -> Estimate:
    if any(cluster is not None for _, cluster in values):
        names = [("alone", place) if cluster is None else cluster for place, (_, cluster) in enumerate(values)]
        return clustered_rate([float(value) for value, _ in values], names)
    return wilson(sum(value for value, _ in values), len(values))
