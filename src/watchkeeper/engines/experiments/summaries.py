"""Sums up tables of scores by group: means with intervals, pass^k and pass@k, and where the uncertainty comes from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from importlib.util import find_spec
from statistics import fmean

from watchkeeper.analysis import intervals, power
from watchkeeper.analysis.bootstrap_t import bootstrap_t, cochran_skewed
from watchkeeper.analysis.passk import pass_at_k, pass_hat_k
from watchkeeper.analysis.variance_split import Split, split
from watchkeeper.engines.experiments.tables import Scored
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

_MOST_K = 16


class Summary(Record, frozen=True, kw_only=True):
    """The mean of one group. `n` counts scores, `items` what they are of, `missing` rows without a score (in no mean).

    `dropped` counts rows that name no item; they are in no figure either. `duplicates` are rows that repeat an item and
    a run; they count as further reruns of that item. `standard_error` is None where one value or one cluster gives
    none. With several rows for an item, and with clusters, interval and standard error are cluster-robust; `method`
    says which interval it is. `minimum_detectable_effect` is the smallest difference to another run of this size over
    other items that would be found four times in five; over the same items, smaller ones are. `pass_hat_k` and
    `pass_at_k` are there for reruns of outcomes that are 0 or 1, `variance` for reruns.
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
    dropped: int = 0
    duplicates: int = 0
    clusters: int | None = None
    minimum_detectable_effect: float | None = None
    pass_hat_k: dict[str, Estimate] = {}
    pass_at_k: dict[str, Estimate] = {}
    variance: Split | None = None
    notes: tuple[str, ...] = ()


def summarize(rows: Sequence[Scored]) -> list[Summary]:
    """One summary for each group, in the order of their names."""
    groups: dict[str, list[Scored]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row)
    return [_summary(name, groups[name]) for name in sorted(groups)]


def _summary(name: str, rows: Sequence[Scored]) -> Summary:
    named = [row for row in rows if row.item is not None]
    scored = [row for row in named if row.score is not None]
    values = [row.score for row in scored if row.score is not None]
    tries = _tries(scored)
    repeated = len(tries) < len(scored)
    clustered = any(row.cluster is not None for row in scored)
    # A row without a cluster hangs together with its own item alone.
    of: list[Hashable] = [row.cluster if row.cluster is not None else (row.item,) for row in scored]
    together = of if clustered or repeated else range(len(values))
    binary = set(values) <= {0.0, 1.0}
    spread = intervals.cluster_spread(values, together)
    estimate, why = _estimate(values, of if clustered or repeated else None, binary)
    rerun = any(row.run is not None for row in scored)
    hat, at = _passes(tries) if binary and rerun else ({}, {})
    duplicates = len(scored) - len({(row.item, row.run) for row in scored}) if rerun else 0
    return Summary(
        group=name,
        n=len(values),
        mean=spread.value if values else None,
        standard_error=spread.standard_error if spread.clusters > 1 else None,
        low=estimate.low,
        high=estimate.high,
        method=estimate.method,
        items=len(tries),
        missing=len(named) - len(scored),
        dropped=len(rows) - len(named),
        duplicates=duplicates,
        clusters=spread.clusters if clustered or repeated else None,
        minimum_detectable_effect=power.error_mde(spread.standard_error * 2**0.5, 2 * spread.df),
        pass_hat_k=hat,
        pass_at_k=at,
        variance=split(tries) if repeated and find_spec("numpy") is not None else None,
        notes=(*_row_notes(rows, named, scored, duplicates), *_notes(scored, tries, binary, hat), *why),
    )


def _tries(scored: Sequence[Scored]) -> dict[str, list[float]]:
    tries: dict[str, list[float]] = defaultdict(list)
    for row in scored:
        if row.item is not None and row.score is not None:
            tries[row.item].append(row.score)
    return dict(tries)


def _estimate(values: Sequence[float], of: Sequence[Hashable] | None, binary: bool) -> tuple[Estimate, tuple[str, ...]]:
    """The interval that suits the values, and why it is not the usual one."""
    bounded = intervals.within_ends(values)
    if of is not None:
        return (intervals.clustered_rate if binary or bounded else intervals.clustered)(values, of), ()
    if binary:
        return intervals.wilson(sum(values), len(values)), ()
    if len(values) > 1 and len(set(values)) == 1:
        return _alike(values), ()
    if bounded and len(values) > 1:
        return intervals.graded_rate(values), ()
    if len(values) >= 8 and cochran_skewed(values):
        if find_spec("numpy") is not None:
            (estimate,) = bootstrap_t(values)
            if estimate.low > float("-inf") and estimate.high < float("inf"):
                return estimate, ("The scores are skewed for their number, so the interval is the bootstrap's.",)
        return intervals.mean(values), ("The scores are skewed for their number: Student's t is too narrow here.",)
    return intervals.mean(values), ()


def _alike(values: Sequence[float]) -> Estimate:
    """Scores that are all one: within 0..1 the rule of three bounds what was not met, otherwise nothing does."""
    value, n = values[0], len(values)
    low, high = float("-inf"), float("inf")
    if 0 <= value <= 1:
        unseen = 1 - 0.05 ** (1 / n)
        low, high = max(0.0, value - unseen * value), min(1.0, value + unseen * (1 - value))
    return Estimate(value=value, low=low, high=high, n=n, method="rule of three, no spread seen")


def _passes(tries: dict[str, list[float]]) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """pass^k and pass@k for every k that half of the items or more were tried as often as; nothing for single tries.

    Each is over the items that were tried k times or more.
    """
    trials = [len(each) for each in tries.values()]
    if not trials or max(trials) < 2:
        return {}, {}
    reached = [k for k in range(1, max(trials) + 1) if 2 * sum(n >= k for n in trials) >= len(trials)]
    ks = [k for k in reached if k <= _MOST_K or k in (min(trials), reached[-1])]
    hat, at = {}, {}
    for k in ks:
        able = [each for each in tries.values() if len(each) >= k]
        counts = [round(sum(each)) for each in able], [len(each) for each in able]
        hat[str(k)], at[str(k)] = pass_hat_k(*counts, k), pass_at_k(*counts, k)
    return hat, at


def _row_notes(
    rows: Sequence[Scored], named: Sequence[Scored], scored: Sequence[Scored], duplicates: int
) -> tuple[str, ...]:
    notes = []
    if len(rows) > len(named):
        notes.append(f"{len(rows) - len(named)} rows name no item and are in no figure.")
    if len(named) > len(scored):
        notes.append(f"{len(named) - len(scored)} rows have no score and are in no figure.")
    if duplicates:
        notes.append(f"{duplicates} rows repeat an item and a run: they count as further reruns. Is the file doubled?")
    alone = sum(row.cluster is None for row in scored)
    if 0 < alone < len(scored):
        notes.append(f"{alone} rows name no cluster: each item of theirs is one of its own.")
    return tuple(notes)


def _notes(
    scored: Sequence[Scored], tries: dict[str, list[float]], binary: bool, hat: dict[str, Estimate]
) -> tuple[str, ...]:
    notes = []
    rerun = any(row.run is not None for row in scored)
    if len(tries) < len(scored) and not rerun:
        notes.append(
            f"{len(scored) - len(tries)} rows repeat an item: they count as reruns, and the interval is over items. If "
            "they are other items, name what tells them apart with another --item."
        )
    trials = {len(each) for each in tries.values()}
    if rerun and binary and not hat:
        notes.append("Items were tried once only, so there is no pass^k.")
    elif hat and len(trials) > 1:
        short = [f"k = {k}" for k in hat if int(k) > min(trials)]
        told = f"; {', '.join(short)} leaves out items with fewer tries, which may be harder ones" if short else ""
        notes.append(f"Items were not tried equally often, and pass^k is over those with k tries{told}.")
    if len(trials) > 1:
        mean = fmean(fmean(each) for each in tries.values())
        told = f"{min(trials)} to {max(trials)} scores"
        notes.append(
            f"Items have {told} each, and every score counts alike; the mean of the items' own means is {mean:.6g}."
        )
    clusters = {row.cluster for row in scored}
    if None not in clusters and len(clusters) == 1 and len(scored) > 1:
        notes.append("All rows lie in one cluster, so nothing shows how clusters differ: there is no interval.")
    if len(scored) == 1:
        notes.append("One score shows nothing of how scores differ.")
    elif scored and len({row.score for row in scored}) == 1:
        notes.append("All scores are alike, so no spread was seen.")
    return tuple(notes)
