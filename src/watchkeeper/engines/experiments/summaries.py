"""Sums up and compares tables of scores: means with intervals by group, pass^k over reruns, and paired verdicts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from watchkeeper.analysis import intervals
from watchkeeper.analysis.paired import Comparison, compare
from watchkeeper.analysis.passk import pass_hat_k
from watchkeeper.engines.experiments.tables import Scored, TableError
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record


class Summary(Record, frozen=True, kw_only=True):
    """The mean of one group. `n` counts scores, `items` what they are of, `missing` rows without a score (in no mean).

    `standard_error` is None where one value or one cluster gives none. With several rows for an item, and with
    clusters, interval and standard error are cluster-robust. `pass_hat_k` is there for reruns of outcomes that are 0 or
    1.
    """

    group: str
    n: int
    mean: float | None
    standard_error: float | None
    low: float
    high: float
    method: str
    items: int
    missing: int
    clusters: int | None = None
    pass_hat_k: dict[str, Estimate] = {}
    notes: tuple[str, ...] = ()


class Compared(Record, frozen=True, kw_only=True):
    """B against A over the items that both have, as `analysis.paired.compare` says it, flat and with its notes."""

    n: int
    mean_a: float | None
    mean_b: float | None
    difference: float | None
    standard_error: float | None
    low: float
    high: float
    p_value: float
    minimum_detectable_effect: float | None
    verdict: str
    method: str
    improved: int
    worsened: int
    only_in_a: int
    only_in_b: int
    missing: int
    margin: float | None = None
    notes: tuple[str, ...] = ()


def summarize(rows: Sequence[Scored]) -> list[Summary]:
    """One summary for each group, in the order of their names."""
    groups: dict[str, list[Scored]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row)
    return [_summary(name, groups[name]) for name in sorted(groups)]


def compare_groups(a: Sequence[Scored], b: Sequence[Scored], margin: float | None = None) -> Compared:
    """Compare two sides item by item, reruns of an item averaged first; raises `TableError` where nothing is shared."""
    sides = [_by_item(rows) for rows in (a, b)]
    shared = sides[0].keys() & sides[1].keys()
    if not shared:
        raise TableError("The two sides share no item, so nothing can be paired. Look at --item, --a and --b.")
    clusters = _clusters([*a, *b])
    found = compare(sides[0], sides[1], margin, clusters=clusters)
    differences = {item: fmean(sides[1][item]) - fmean(sides[0][item]) for item in shared}
    notes = _compared_notes(a, b, found)
    return Compared(
        n=found.n,
        mean_a=found.mean_a,
        mean_b=found.mean_b,
        difference=found.difference.value,
        standard_error=_standard_error(differences, clusters),
        low=found.difference.low,
        high=found.difference.high,
        p_value=found.p_value,
        minimum_detectable_effect=found.minimum_detectable_effect,
        verdict=found.verdict,
        method=found.method,
        improved=found.improved,
        worsened=found.worsened,
        only_in_a=found.unpaired_a,
        only_in_b=found.unpaired_b,
        missing=sum(row.score is None for row in (*a, *b)),
        margin=margin,
        notes=notes,
    )


def _summary(name: str, rows: Sequence[Scored]) -> Summary:
    scored = [row for row in rows if row.score is not None]
    values = [row.score for row in scored if row.score is not None]
    items = len({row.item for row in scored})
    repeated = items < len(scored)
    clustered = any(row.cluster is not None for row in scored)
    of = [row.cluster if row.cluster is not None else row.item for row in scored]
    binary = set(values) <= {0.0, 1.0}
    estimate = _estimate(values, of if clustered or repeated else None, binary)
    notes = []
    if repeated and not any(row.run is not None for row in scored):
        notes.append(
            f"{len(scored) - items} rows repeat an item: they count as reruns, and the interval is over items."
        )
    if any(row.run is not None for row in scored) and binary and not _pass_hat(scored):
        notes.append("Items were not tried equally often, or once only, so there is no pass^k.")
    if len(rows) > len(scored):
        notes.append(f"{len(rows) - len(scored)} rows have no score and are in no figure.")
    if scored and len(set(values)) == 1:
        notes.append("All scores are alike, so no spread was seen.")
    return Summary(
        group=name,
        n=len(values),
        mean=estimate.value if values else None,
        standard_error=_spread(values, of if clustered or repeated else None),
        low=estimate.low,
        high=estimate.high,
        method=estimate.method,
        items=items,
        missing=len(rows) - len(scored),
        clusters=len(set(of)) if clustered or repeated else None,
        pass_hat_k=_pass_hat(scored) if binary else {},
        notes=tuple(notes),
    )


def _estimate(values: Sequence[float], of: Sequence[str] | None, binary: bool) -> Estimate:
    if of is not None:
        return intervals.clustered(values, of)
    if binary:
        return intervals.wilson(sum(values), len(values))
    return intervals.mean(values)


def _spread(values: Sequence[float], of: Sequence[str] | None) -> float | None:
    """The standard error of a mean: sd / sqrt(n), or cluster-robust (CR1)."""
    if of is None:
        return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    error = intervals.clustered_error(values, of)
    return error if math.isfinite(error) else None


def _standard_error(differences: Mapping[str, float], clusters: Mapping[str, str] | None) -> float | None:
    items = sorted(differences)
    of = None if clusters is None else [clusters[item] for item in items]
    return _spread([differences[item] for item in items], of)


def _pass_hat(scored: Sequence[Scored]) -> dict[str, Estimate]:
    """pass^k for every k, where every item was tried equally often; empty for a single try."""
    if not any(row.run is not None for row in scored):
        return {}
    tries: dict[str, list[float]] = defaultdict(list)
    for row in scored:
        tries[row.item].append(row.score or 0.0)
    trials = {len(each) for each in tries.values()}
    if len(trials) != 1 or trials == {1}:
        return {}
    (count,) = trials
    successes = [round(sum(each)) for each in tries.values()]
    return {str(k): pass_hat_k(successes, count, k) for k in range(1, count + 1)}


def _by_item(rows: Sequence[Scored]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.score is not None:
            found[row.item].append(row.score)
    return dict(found)


def _clusters(rows: Sequence[Scored]) -> dict[str, str] | None:
    """Each item's cluster; raises `TableError` for an item that lies in two."""
    if all(row.cluster is None for row in rows):
        return None
    found: dict[str, str] = {}
    for row in rows:
        known = found.setdefault(row.item, row.cluster or "")
        if known != row.cluster:
            raise TableError(
                f"The item {row.item!r} lies in two clusters, {known!r} and {row.cluster!r}. Give each item one, or "
                "name more columns with --item."
            )
    return found


def _compared_notes(a: Sequence[Scored], b: Sequence[Scored], found: Comparison) -> tuple[str, ...]:
    notes = []
    if found.unpaired_a or found.unpaired_b:
        notes.append(
            f"{found.unpaired_a} items are scored in A only and {found.unpaired_b} in B only; they are in no figure."
        )
    for name, rows in (("A", a), ("B", b)):
        missing = sum(row.score is None for row in rows)
        if missing:
            notes.append(f"{missing} rows of {name} have no score and are in no figure.")
        repeated = len(rows) - missing - len(_by_item(rows))
        if repeated:
            notes.append(f"{repeated} rows of {name} repeat an item: reruns of an item are averaged first.")
    if found.n == 1:
        notes.append("One item shows nothing of how items differ.")
    return tuple(notes)
