"""Corrects what a judge says of many by what people say of few: a mean that is unbiased however wrong the judge is.

Prediction-powered inference (Angelopoulos et al., 2023, Science 382) with power tuning, PPI++ (Angelopoulos, Duchi and
Zrnic, 2023): the mean of lambda times the judge's scores where nobody labelled, plus the mean of label minus lambda
times score where somebody did. With the lambda that makes the variance smallest (0 where the judge is useless) it
is never much worse than the labels alone. The residual variance is taken over n - 2 and the interval is t's, because
lambda is fitted to the same labels. For outcomes that are 0 or 1 the variance is taken with one row more of each pair
of label and score (as Agresti and Coull, 1998, add successes and failures), so that a disagreement that few labels did
not meet is not taken to be impossible; for differences of outcomes with one row more each way (Agresti and Min, 2005).

Measured, 95% intervals, 3,000 samples each, a judge with 90% of the good and 70% of the bad right, 1,000 unlabelled: at
a rate of 40% the truth was covered in 99%, 98%, 96% and 95% for 10, 15, 30 and 100 labels, at a rate of 90% and 30
labels in 97%, at 5% and 100 labels in 96%; the judge alone covered it in none.
A difference of 2 points, 10% of the items changed, was covered in 100%, 100%, 98% and 96% for 10, 20, 50 and 150 labels
(62%, 84%, 96% and 96% without the rows that are added).
Limits: labelled rows must be a random part of all (of each stratum, of all clusters): labels given where the judge was
doubted correct the wrong thing. For graded scores, and with clusters, the interval is t's alone, below about 20 labels
too narrow where they are skewed.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import fmean, variance
from typing import NamedTuple

from watchkeeper.analysis import intervals
from watchkeeper.analysis.quantiles import t_quantile
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

_FEWEST = 3
_PLUS_FOUR = tuple((float(y), float(f)) for y in (0, 1) for f in (0, 1))
_OF_DIFFERENCES = ((1.0, 0.5), (-1.0, -0.5))


class Row(NamedTuple):
    """What the judge said of an item, and what people did (None: nobody was asked).

    A difference of two versions is a row too: the differences of the judge's scores and of the labels.
    """

    judge: float
    label: float | None = None
    cluster: Hashable | None = None
    stratum: Hashable = None


class Corrected(Record, frozen=True, kw_only=True):
    """The corrected mean, beside what the labels alone and the judge alone say.

    `judge_bias` is how far the judge lies above the labels, on the rows that have both. `weight` is lambda: how much of
    the judge was used. `worth_labels` is how many labels alone would give the same error.
    """

    estimate: Estimate
    labels_alone: Estimate
    judge_alone: Estimate
    judge_bias: Estimate
    weight: float
    labelled: int
    unlabelled: int
    worth_labels: float | None
    notes: tuple[str, ...] = ()


class _Part(NamedTuple):
    """One stratum's share of the rows, its mean, variance of that, degrees of freedom and lambda."""

    share: float
    value: float
    variance: float
    df: float
    weight: float


def corrected_mean(
    rows: Sequence[Row], *, bounds: tuple[float, float] | None = None, confidence: float = 0.95
) -> Corrected:
    """The mean label of all rows, from the labels of some and the judge's scores of all.

    With strata each is corrected by itself and weighted by its share of the rows; with clusters the error is robust to
    what hangs together. `bounds` cuts the interval to the values that are possible; -1 to 1 are those of a difference
    of outcomes. Raises ValueError below three
    labelled rows, or three of a stratum.
    """
    strata: dict[Hashable, list[Row]] = {}
    for row in rows:
        strata.setdefault(row.stratum, []).append(row)
    added = _OF_DIFFERENCES if bounds == (-1.0, 1.0) else _PLUS_FOUR
    parts = [_part(name, inside, len(inside) / len(rows), added) for name, inside in strata.items()]
    value = math.fsum(part.share * part.value for part in parts)
    pieces = [part.share**2 * part.variance for part in parts]
    whole = math.fsum(pieces)
    df = whole**2 / math.fsum(v * v / part.df for v, part in zip(pieces, parts, strict=True)) if whole else parts[0].df
    half = t_quantile((1 + confidence) / 2, df) * math.sqrt(whole)
    low, high = value - half, value + half
    if bounds is not None:
        low, high = max(bounds[0], low), min(bounds[1], high)
    labelled = [row for row in rows if row.label is not None]
    method = "prediction-powered (PPI++)" + (", stratified" if len(strata) > 1 else "")
    clustered = any(row.cluster is not None for row in rows)
    labels = [row.label for row in labelled if row.label is not None]
    spread = variance(labels) if len(labels) > 1 else 0.0
    return Corrected(
        estimate=Estimate(
            value=value,
            low=low,
            high=high,
            n=len(labelled),
            method=method + (", cluster-robust" if clustered else ""),
            confidence=confidence,
        ),
        labels_alone=_mean(labels, [row.cluster for row in labelled], clustered, confidence),
        judge_alone=_mean([row.judge for row in rows], [row.cluster for row in rows], clustered, confidence),
        judge_bias=_mean(
            [row.judge - (row.label or 0.0) for row in labelled],
            [row.cluster for row in labelled],
            clustered,
            confidence,
        ),
        weight=math.fsum(part.share * part.weight for part in parts),
        labelled=len(labelled),
        unlabelled=len(rows) - len(labelled),
        worth_labels=spread / whole if whole and spread and not clustered else None,
        notes=_notes(labels, whole),
    )


def _part(name: Hashable, rows: Sequence[Row], share: float, added: Sequence[tuple[float, float]]) -> _Part:
    labelled = [(row.label, row.judge) for row in rows if row.label is not None]
    rest = [row.judge for row in rows if row.label is None]
    n, big = len(labelled), len(rest)
    if n < _FEWEST:
        of = "" if name is None else f" in the stratum {name!r}"
        raise ValueError(
            f"A correction needs at least {_FEWEST} labelled rows, and there are {n}{of}. Label more, drawn at random."
        )
    clustered = any(row.cluster is not None for row in rows)
    seen, lowest = labelled, min(y for y, _ in added)
    outcomes = {y for y, _ in labelled} <= {lowest, 0.0, 1.0}
    if not clustered and outcomes and all(lowest <= row.judge <= 1 for row in rows):
        seen = [*labelled, *added]
    labels, judged = [y for y, _ in seen], [f for _, f in seen]
    mean_y, mean_f = fmean(labels), fmean(judged)
    squares = math.fsum((f - mean_f) ** 2 for f in judged)
    together = math.fsum((f - mean_f) * (y - mean_y) for y, f in seen)
    weight = together / squares / (1 + n / big) if squares > 0 and big > 1 else 0.0
    weight = min(1.0, max(0.0, weight))
    if weight == 0.0:
        rest = []
    residual = fmean(y - weight * f for y, f in labelled)
    value = residual + (weight * fmean(rest) if rest else 0.0)
    if clustered:
        error, df = _clustered_variance(rows, weight, residual, fmean(rest) if rest else 0.0)
        return _Part(share, value, error, df, weight)
    fitted = 2 if weight else 1
    spread = variance([y - weight * f for y, f in seen]) * (len(seen) - 1) / (len(seen) - fitted)
    error = spread / n
    if rest:
        error += weight**2 * variance(rest) / big
        # Lambda is fitted: its own error counts where labelled and unlabelled rows differ in what the judge says.
        error += spread * (fmean(rest) - mean_f) ** 2 / squares
    return _Part(share, value, error, len(seen) - fitted, weight)


def _clustered_variance(rows: Sequence[Row], weight: float, residual: float, judged: float) -> tuple[float, float]:
    """The sum of squared influences of whole clusters, and its degrees of freedom: labelled clusters less two."""
    n = sum(row.label is not None for row in rows)
    big = len(rows) - n
    influence: dict[Hashable, float] = {}
    with_labels = set()
    for index, row in enumerate(rows):
        key = (index,) if row.cluster is None else row.cluster
        if row.label is not None:
            with_labels.add(key)
            moved = (row.label - weight * row.judge - residual) / n
        else:
            moved = weight * (row.judge - judged) / big if weight else 0.0
        influence[key] = influence.get(key, 0.0) + moved
    count = len(with_labels)
    if count < _FEWEST:
        raise ValueError(f"A correction needs labels in at least {_FEWEST} clusters, and there are {count}.")
    return math.fsum(u * u for u in influence.values()) * count / (count - 2), count - 2


def _mean(values: Sequence[float], clusters: Sequence[Hashable | None], clustered: bool, confidence: float) -> Estimate:
    if clustered:
        of = [(i,) if cluster is None else cluster for i, cluster in enumerate(clusters)]
        return intervals.clustered(values, of, confidence=confidence)
    if values and set(values) <= {0.0, 1.0}:
        return intervals.wilson(sum(values), len(values), confidence=confidence)
    return intervals.mean(values, confidence=confidence)


def _notes(labels: Sequence[float], whole: float) -> tuple[str, ...]:
    notes = []
    if whole == 0:
        notes.append("Labels and judge leave no spread at all, so the interval has no width: that is too few to tell.")
    elif len(set(labels)) == 1:
        notes.append("All labels are alike: how often the other answer occurs is not known from them.")
    return tuple(notes)
