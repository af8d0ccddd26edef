"""Tells how the replies of two versions differ in shape, and what reads that shape.

Each feature (`analysis/shape_features.py`) is compared (`analysis/two_samples.py`); p-values are adjusted over all
features so that of those reported a share of at most `alpha` is expected to be false (Benjamini and Hochberg, 1995).
Where R of m features are reported, their intervals are at confidence 1 - R alpha / m, so that of these intervals too a
share of at most `alpha` is expected to miss (Benjamini and Yekutieli, 2005, "False discovery rate-adjusted multiple
confidence intervals for selected parameters"). Replies of one session, cluster or case are averaged first. What is
reported is ranked by effect size times the weight of the consumers that read the feature (1 without any).

Limits: the two sides are taken as independent samples of like traffic; where the mix of questions changed, the shape
changes with it. Features hang together, so one habit may be told by several of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from watchkeeper.analysis.consumers import ALPHA, Break, Consumer, Step, breaks, seen_breaks
from watchkeeper.analysis.multiplicity import benjamini_hochberg
from watchkeeper.analysis.shape_features import Reply, features
from watchkeeper.analysis.two_samples import (
    FEWEST,
    Shift,
    by_cluster,
    effect_interval,
    shift,
    smallest_effect,
)
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

MOST_LINKS = 5


class Told(Record):
    """One reply of a side, with whom it was for, its cluster, when (unix ns) and what followed, as far as known."""

    reply: Reply
    user: str | None = None
    cluster: str | None = None
    at_ns: int | None = None
    steps: tuple[Step, ...] = ()


class Difference(Record):
    """A feature that was compared: `p_value` is adjusted, `rank` is effect size times the weight of its readers."""

    feature: str
    shift: Shift
    p_value: float
    readers: tuple[str, ...]
    rank: float
    differs: bool
    interval: Estimate


class Behaviour(Record):
    """Two versions side by side: features, those that differ first by rank; consumers, those that break first.

    `units_a` and `units_b` are what is independent: sessions, clusters, or replies that stand alone. With fewer than 8
    on a side nothing is `resolved`, whatever was seen. `smallest` is the effect that so many show four times in five,
    for one feature alone.
    """

    replies_a: int
    replies_b: int
    differences: tuple[Difference, ...]
    consumers: tuple[Break, ...] = ()
    units_a: int = 0
    units_b: int = 0
    smallest: float = 1.0
    resolved: bool = False


def behaviour(
    a: Sequence[Told], b: Sequence[Told], consumers: Sequence[Consumer] = (), alpha: float = ALPHA
) -> Behaviour:
    """Compare two sides."""
    shapes = _shapes(a, "a"), _shapes(b, "b")
    values = _values(shapes[0]), _values(shapes[1])
    shifts = _shifts(*values)
    adjusted = benjamini_hochberg([each.p_value for each in shifts.values()])
    clusters = [each.cluster for each in shapes[0]], [each.cluster for each in shapes[1]]
    links = _links([*shapes[0], *shapes[1]], alpha)
    read_by = (
        *breaks(consumers, [each.reply.text for each in a], [each.reply.text for each in b], clusters),
        *seen_breaks([each.steps for each in a], [each.steps for each in b], clusters, links),
    )
    units = len(set(clusters[0])), len(set(clusters[1]))
    resolved = min(units) >= FEWEST
    told = sum(p_value < alpha for p_value in adjusted) if resolved else 0
    confidence = 1 - alpha * max(1, told) / max(1, len(shifts))
    weights = {each.name: each.weight for each in consumers}
    differences = []
    for (name, apart), p_value in zip(shifts.items(), adjusted, strict=True):
        readers = tuple(reader.consumer for reader in read_by if name in reader.hangs_on)
        differs = resolved and p_value < alpha
        level = confidence if differs else 1 - alpha
        differences.append(
            Difference(
                feature=name,
                shift=apart,
                p_value=p_value,
                readers=readers,
                rank=abs(apart.effect) * (1.0 + sum(weights.get(reader, 1.0) for reader in readers)),
                differs=differs,
                interval=effect_interval(values[0][name], values[1][name], confidence=level),
            )
        )
    differences.sort(key=lambda each: (not each.differs, -each.rank, each.feature))
    return Behaviour(
        replies_a=len(a),
        replies_b=len(b),
        differences=tuple(differences),
        consumers=read_by,
        units_a=units[0],
        units_b=units[1],
        smallest=smallest_effect(*units, alpha=alpha),
        resolved=resolved,
    )


def _shifts(a: Mapping[str, list[float]], b: Mapping[str, list[float]]) -> dict[str, Shift]:
    found = {name: shift(a[name], b[name]) for name in sorted(a.keys() & b.keys())}
    return {name: each for name, each in found.items() if each is not None}


class _Shape(NamedTuple):
    """The features of a reply, its cluster, and what followed it."""

    features: Mapping[str, float]
    cluster: Hashable
    steps: tuple[Step, ...]


def _shapes(side: Sequence[Told], name: str) -> list[_Shape]:
    """The shapes of a side; a reply of no cluster is one by itself."""
    return [
        _Shape(features(each.reply), (name, place) if each.cluster is None else each.cluster, each.steps)
        for place, each in enumerate(side)
    ]


def _values(side: Sequence[_Shape]) -> Mapping[str, list[float]]:
    """The values of each feature, one for each cluster."""
    values: dict[str, list[float]] = defaultdict(list)
    clusters: dict[str, list[Hashable]] = defaultdict(list)
    for each in side:
        for name, value in each.features.items():
            values[name].append(value)
            clusters[name].append(each.cluster)
    return {name: by_cluster(values[name], clusters[name]) for name in values}


def _links(shapes: Sequence[_Shape], alpha: float) -> Mapping[str, tuple[str, ...]]:
    """For each step the features that go with its failing, the strongest first; a link need not be the reason."""
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted({step.name for each in shapes for step in each.steps}):
        well, failed = list[_Shape](), list[_Shape]()
        for each in shapes:
            met = [step.failed for step in each.steps if step.name == name]
            if met:
                (failed if any(met) else well).append(each)
        if min(len(well), len(failed)) < FEWEST:
            continue
        shifts = _shifts(_values(well), _values(failed))
        adjusted = benjamini_hochberg([apart.p_value for apart in shifts.values()])
        linked = [
            (-abs(apart.effect), feature)
            for (feature, apart), p_value in zip(shifts.items(), adjusted, strict=True)
            if p_value < alpha
        ]
        found[name] = tuple(feature for _, feature in sorted(linked)[:MOST_LINKS])
    return found
