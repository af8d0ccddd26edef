"""Compares groups of a table of scores, item by item: two of them, all pairs, or the same two in every slice."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from statistics import fmean

import msgspec

from watchkeeper.analysis import intervals
from watchkeeper.analysis.multiplicity import benjamini_hochberg, holm
from watchkeeper.analysis.paired import Comparison, Interval, compare, verdict_of
from watchkeeper.analysis.unpaired import Sample, unpaired_evidence
from watchkeeper.engines.experiments.tables import Scored, TableError
from watchkeeper.records.record import Record

_ALPHA = 0.05
ADJUSTMENTS: Mapping[str, Callable[[Sequence[float]], list[float]]] = {"holm": holm, "bh": benjamini_hochberg}


class Compared(Record, frozen=True, kw_only=True):
    """B against A over the items that both have, as `analysis.paired.compare` says it, flat and with its notes.

    `missing` counts rows without a score, `dropped` rows that name no item; both are in no figure. The difference is B
    - A also where `lower_is_better`; what is better, worse and improved is then turned round.
    """

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
    improved: int | None
    worsened: int | None
    only_in_a: int
    only_in_b: int
    missing: int
    dropped: int = 0
    clusters: int | None = None
    margin: float | None = None
    non_inferior: bool | None = None
    lower_is_better: bool = False
    notes: tuple[str, ...] = ()


class Contrast(Record, frozen=True, kw_only=True):
    """One of several comparisons: what was compared, and its p-value adjusted for how many there are."""

    a: str
    b: str
    adjusted_p_value: float
    compared: Compared
    slice: str | None = None


class How(Record, frozen=True, kw_only=True):
    """How sides are compared: the margin that does not matter, which interval, whether less is better, and the
    adjustment of several p-values.

    `unpaired` takes the sides for independent samples, whatever their items are called.
    """

    margin: float | None = None
    interval: Interval = "auto"
    lower_is_better: bool = False
    adjust: str = "holm"
    unpaired: bool = False


def compare_groups(a: Sequence[Scored], b: Sequence[Scored], how: How = How(), claims: int = 1) -> Compared:
    """Compare two sides item by item, reruns of an item averaged first; raises `TableError` where nothing is shared.

    `claims` is how many comparisons are made together.
    """
    if how.unpaired:
        return _unpaired(a, b, how, claims)
    sides = [_by_item(rows) for rows in (a, b)]
    shared = sides[0].keys() & sides[1].keys()
    if not shared:
        raise TableError(_nothing_shared(a, b))
    clusters = _clusters([*a, *b])
    found = compare(
        sides[0],
        sides[1],
        how.margin,
        clusters=clusters,
        interval=how.interval,
        lower_is_better=how.lower_is_better,
        claims=claims,
    )
    differences = {item: fmean(sides[1][item]) - fmean(sides[0][item]) for item in shared}
    of = [item if clusters is None else clusters[item] for item in differences]
    spread = intervals.cluster_spread(list(differences.values()), of)
    return Compared(
        n=found.n,
        mean_a=found.mean_a,
        mean_b=found.mean_b,
        difference=found.difference.value,
        standard_error=spread.standard_error if math.isfinite(spread.standard_error) else None,
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
        dropped=sum(row.item is None for row in (*a, *b)),
        clusters=None if clusters is None else spread.clusters,
        margin=how.margin,
        non_inferior=found.non_inferior,
        lower_is_better=how.lower_is_better,
        notes=_notes(a, b, found, spread.clusters if clusters is not None else None),
    )


def _unpaired(a: Sequence[Scored], b: Sequence[Scored], how: How, claims: int) -> Compared:
    scored = [[row for row in rows if row.item is not None and row.score is not None] for rows in (a, b)]
    if not all(scored):
        raise TableError("One side has no row with an item and a score. Look at --score, --a and --b.")
    samples = [_sample(rows) for rows in scored]
    alpha = _ALPHA
    evidence = unpaired_evidence(samples[0], samples[1], (1 - alpha, 1 - 2 * alpha / claims))
    verdict, non_inferior = verdict_of(evidence, alpha, how.margin, how.lower_is_better)
    means = [fmean(sample.values) for sample in samples]
    spreads = [intervals.cluster_spread(s.values, s.clusters or range(len(s.values))) for s in samples]
    error = math.hypot(*(spread.standard_error for spread in spreads))
    items = [len(_by_item(rows)) for rows in scored]
    clustered = any(row.cluster is not None for rows in scored for row in rows)
    note = f"{items[0]} items of A and {items[1]} of B are compared as independent samples, none against itself."
    return Compared(
        n=min(items),
        mean_a=means[0],
        mean_b=means[1],
        difference=evidence.difference.value,
        standard_error=error if math.isfinite(error) else None,
        low=evidence.difference.low,
        high=evidence.difference.high,
        p_value=evidence.p_value,
        minimum_detectable_effect=evidence.mde,
        verdict=verdict,
        method=evidence.method,
        improved=None,
        worsened=None,
        only_in_a=0,
        only_in_b=0,
        missing=sum(row.score is None for row in (*a, *b)),
        dropped=sum(row.item is None for row in (*a, *b)),
        clusters=min(spread.clusters for spread in spreads) if clustered else None,
        margin=how.margin,
        non_inferior=non_inferior,
        lower_is_better=how.lower_is_better,
        notes=(note, *_row_notes(a, b)),
    )


def _sample(rows: Sequence[Scored]) -> Sample:
    """The scores of a side; those of one item, or of one cluster, hang together."""
    values = [row.score for row in rows if row.score is not None]
    if all(row.cluster is None for row in rows) and len({row.item for row in rows}) == len(rows):
        return Sample(values)
    return Sample(values, [(row.item,) if row.cluster is None else row.cluster for row in rows])


def in_slices(
    a: Sequence[Scored], b: Sequence[Scored], how: How = How(), names: tuple[str, str] = ("A", "B")
) -> list[Contrast]:
    """Two sides compared in every slice that both have, with adjusted p-values; raises `TableError` for none.

    Slices of one side alone are named in the notes of the first comparison.
    """
    slices = [{row.slice or "" for row in rows} for rows in (a, b)]
    shared = sorted(slices[0] & slices[1])
    if not shared:
        raise TableError(f"The sides share no slice: A has {sorted(slices[0])[:5]}, B has {sorted(slices[1])[:5]}.")
    found = []
    for part in shared:
        inside = [[row for row in rows if (row.slice or "") == part] for rows in (a, b)]
        found.append((*names, part, compare_groups(inside[0], inside[1], how, len(shared))))
    lonely = sorted(slices[0] ^ slices[1])
    if lonely:
        first, note = (
            found[0][3],
            f"Slices that one side alone has are in no figure: {', '.join(each or '(empty)' for each in lonely[:9])}.",
        )
        found[0] = (*names, shared[0], msgspec.structs.replace(first, notes=(*first.notes, note)))
    return adjusted(found, how.adjust)


def all_pairs(rows: Iterable[Scored], how: How = How()) -> list[Contrast]:
    """Every group of a table against every other, in the order of their names, with adjusted p-values and verdicts.

    Raises `TableError` below two groups.
    """
    groups: dict[str, list[Scored]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row)
    if len(groups) < 2:
        raise TableError(f"Two groups make a comparison, and there is only {', '.join(groups)!r}. Look at --by.")
    pairs = list(combinations(sorted(groups), 2))
    return adjusted([(a, b, None, compare_groups(groups[a], groups[b], how, len(pairs))) for a, b in pairs], how.adjust)


def adjusted(found: Sequence[tuple[str, str, str | None, Compared]], adjust: str = "holm") -> list[Contrast]:
    """Several comparisons (A, B, slice, what came out) with p-values adjusted for their number.

    "better" and "worse" are only kept where the adjusted p-value is below 0.05 as well.
    """
    p_values = ADJUSTMENTS[adjust]([compared.p_value for *_, compared in found])
    return [
        Contrast(a=a, b=b, slice=part, adjusted_p_value=p_value, compared=_held_back(compared, p_value, len(found)))
        for (a, b, part, compared), p_value in zip(found, p_values, strict=True)
    ]


def _held_back(compared: Compared, p_value: float, asked: int) -> Compared:
    if compared.verdict not in ("better", "worse") or p_value < _ALPHA:
        return compared
    note = f"Alone this would be {compared.verdict}; among {asked} comparisons it may be luck."
    verdict = "non-inferior" if compared.non_inferior else "not resolved"
    return msgspec.structs.replace(compared, verdict=verdict, notes=(*compared.notes, note))


def _by_item(rows: Sequence[Scored]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.item is not None and row.score is not None:
            found[row.item].append(row.score)
    return dict(found)


def _clusters(rows: Sequence[Scored]) -> dict[str, Hashable] | None:
    """Each item's cluster, itself where it names none; raises `TableError` for an item that lies in two."""
    if all(row.cluster is None for row in rows):
        return None
    found: dict[str, Hashable] = {}
    for row in rows:
        if row.item is None:
            continue
        cluster: Hashable = row.cluster if row.cluster is not None else (row.item,)
        known = found.setdefault(row.item, cluster)
        if known != cluster:
            raise TableError(
                f"The item {row.item!r} lies in two clusters, {known!r} and {cluster!r}. Give each item one, or "
                "name more columns with --item."
            )
    return found


def _nothing_shared(a: Sequence[Scored], b: Sequence[Scored]) -> str:
    names = [sorted({row.item for row in rows if row.item is not None})[:3] for rows in (a, b)]
    scored = [len(_by_item(rows)) for rows in (a, b)]
    return (
        f"The two sides share no item that both scored, so nothing can be paired: A scores {scored[0]} items (the "
        f"first names: {names[0]}), B {scored[1]} ({names[1]}). Look at --item, --a and --b; "
        "sides that have other items on purpose are compared with --unpaired."
    )


def _notes(a: Sequence[Scored], b: Sequence[Scored], found: Comparison, clusters: int | None) -> tuple[str, ...]:
    notes = []
    if found.unpaired_a or found.unpaired_b:
        notes.append(
            f"{found.unpaired_a} items are scored in A only and {found.unpaired_b} in B only; they are in no figure."
        )
    notes += _row_notes(a, b)
    if clusters is not None and any(row.cluster is None for row in (*a, *b) if row.item is not None):
        notes.append("Items that name no cluster are each one of their own.")
    if clusters == 1 and found.n > 1:
        notes.append("All items lie in one cluster, so nothing shows how clusters differ: no verdict is possible.")
    elif clusters is not None and 1 < clusters < 6:
        notes.append(f"{clusters} clusters are too few for a p-value below 0.05, whatever the scores are.")
    if found.p_value >= _ALPHA and found.difference.excludes(0):
        notes.append("The interval leaves zero out and the test does not reject it: better or worse needs both.")
    if found.n == 1:
        notes.append("One item shows nothing of how items differ.")
    elif found.improved == found.worsened == 0:
        notes.append("Every item scores the same on both sides.")
    return tuple(notes)


def _row_notes(a: Sequence[Scored], b: Sequence[Scored]) -> list[str]:
    """What became of rows that are in no figure, or share one."""
    notes = []
    for name, rows in (("A", a), ("B", b)):
        unnamed = sum(row.item is None for row in rows)
        if unnamed:
            notes.append(f"{unnamed} rows of {name} name no item and are in no figure.")
        missing = sum(row.score is None for row in rows)
        if missing:
            notes.append(f"{missing} rows of {name} have no score and are in no figure.")
        held = sum(row.item is not None and row.score is not None for row in rows)
        repeated = held - len(_by_item(rows))
        if repeated:
            notes.append(f"{repeated} rows of {name} repeat an item: reruns of an item are averaged first.")
    return notes
