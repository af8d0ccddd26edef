"""Whoever reads replies by their shape, and whether a version breaks them: as declared, or as seen in traces.

A declared consumer reads a reply when its regex is found in it, or when the reply is JSON (a fence around it is not
taken off) and has something at the path: names, or numbers for places in a list, with dots between them. A step that
was seen to follow a reply (a tool, a parser with its own span) read it when it did not fail.

Limits: a regex is the consumer's own and is run as it is, on the first 200,000 characters of a reply; one that
backtracks without end does so here as it would there, and Ctrl-C ends it. That a step failed after a reply does not say
that the reply was the reason.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from watchkeeper.analysis.intervals import mean
from watchkeeper.analysis.multiplicity import holm
from watchkeeper.analysis.two_proportions import newcombe
from watchkeeper.analysis.two_samples import by_cluster, shift
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

LONGEST_TEXT = 200_000
ALPHA = 0.05


class Consumer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One consumer; exactly one of `regex`, `json_path` and `json` says how it reads."""

    name: str
    regex: str | None = None
    json_path: str | None = None
    json: bool = False
    reads: tuple[str, ...] = ()
    weight: float = 1.0

    def __post_init__(self) -> None:
        ways = (self.regex is not None) + (self.json_path is not None) + self.json
        if ways != 1:
            raise ValueError(f"consumer {self.name!r} needs one of regex, json_path and json; it has {ways}")
        try:
            re.compile(self.regex or "")
        except re.error as error:
            raise ValueError(f"the regex of consumer {self.name!r} cannot be used: {error}") from error

    def reads_reply(self, text: str) -> bool:
        """Whether it could read a reply."""
        if self.regex is not None:
            return re.search(self.regex, text[:LONGEST_TEXT], re.MULTILINE) is not None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return False
        return self.json_path is None or _has(value, self.json_path.split("."))

    def hangs_on(self) -> frozenset[str]:
        """The features that it reads: those declared, and `format.json` where it reads JSON."""
        return frozenset(self.reads) | (frozenset() if self.regex is not None else {"format.json", "format.fences"})


class Step(Record):
    """A step that was seen to follow a reply: its name, and whether it failed."""

    name: str
    failed: bool


class Break(Record):
    """How often a consumer could read A and B, of the replies that it got. `p_value` is adjusted (Holm) over all.

    `verdict`: "breaks" when it reads less of B, "reads more", or "not resolved". `seen` says that it was seen in traces
    rather than declared; `hangs_on` are the features that it declares, or that go with its failing.
    """

    consumer: str
    read_a: int
    n_a: int
    read_b: int
    n_b: int
    difference: Estimate
    p_value: float
    verdict: str
    seen: bool = False
    hangs_on: tuple[str, ...] = ()


class _Reads(NamedTuple):
    """What a consumer read on both sides, as 1 and 0, with the cluster of each."""

    consumer: str
    a: list[float]
    b: list[float]
    clusters_a: list[Hashable]
    clusters_b: list[Hashable]
    seen: bool = False
    hangs_on: tuple[str, ...] = ()


def breaks(
    consumers: Sequence[Consumer],
    a: Sequence[str],
    b: Sequence[str],
    clusters: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
) -> tuple[Break, ...]:
    """Which consumers read less of B than of A, the worst first; replies of one cluster count once."""
    in_a, in_b = clusters or (range(len(a)), range(len(b)))
    return _judged(
        [
            _Reads(
                each.name,
                [float(each.reads_reply(text)) for text in a],
                [float(each.reads_reply(text)) for text in b],
                list(in_a),
                list(in_b),
                hangs_on=tuple(sorted(each.hangs_on())),
            )
            for each in consumers
        ]
    )


def seen_breaks(
    a: Sequence[tuple[Step, ...]],
    b: Sequence[tuple[Step, ...]],
    clusters: tuple[Sequence[Hashable], Sequence[Hashable]],
    hangs_on: Mapping[str, tuple[str, ...]],
) -> tuple[Break, ...]:
    """The same of steps that followed replies on both sides; `hangs_on` are the features that go with their failing."""
    names = {step.name for steps in a for step in steps} & {step.name for steps in b for step in steps}
    found = []
    for name in sorted(names):
        (read_a, in_a), (read_b, in_b) = (_read(name, *side) for side in zip((a, b), clusters, strict=True))
        found.append(_Reads(name, read_a, read_b, in_a, in_b, seen=True, hangs_on=hangs_on.get(name, ())))
    return _judged(found)


def _read(
    name: str, steps: Sequence[tuple[Step, ...]], clusters: Sequence[Hashable]
) -> tuple[list[float], list[Hashable]]:
    """Of the replies that a step followed: whether it read them, and their clusters."""
    met = [
        (float(not any(step.failed for step in each if step.name == name)), cluster)
        for each, cluster in zip(steps, clusters, strict=True)
        if any(step.name == name for step in each)
    ]
    return [read for read, _ in met], [cluster for _, cluster in met]


def _judged(reads: Sequence[_Reads]) -> tuple[Break, ...]:
    shifts = [shift(by_cluster(each.a, each.clusters_a), by_cluster(each.b, each.clusters_b)) for each in reads]
    adjusted = holm([1.0 if each is None else each.p_value for each in shifts])
    found = []
    for each, p_value in zip(reads, adjusted, strict=True):
        difference = _difference(each)
        verdict = "not resolved"
        if p_value < ALPHA:
            verdict = "breaks" if difference.value < 0 else "reads more"
        found.append(
            Break(
                consumer=each.consumer,
                read_a=round(sum(each.a)),
                n_a=len(each.a),
                read_b=round(sum(each.b)),
                n_b=len(each.b),
                difference=difference,
                p_value=p_value,
                verdict=verdict,
                seen=each.seen,
                hangs_on=each.hangs_on,
            )
        )
    return tuple(sorted(found, key=lambda each: (each.verdict != "breaks", each.difference.value)))


def _difference(reads: _Reads) -> Estimate:
    """How much more of B is read: Newcombe's interval, over clusters the same combination of their t intervals."""
    a, b = by_cluster(reads.a, reads.clusters_a), by_cluster(reads.b, reads.clusters_b)
    if len(a) == len(reads.a) and len(b) == len(reads.b):
        return newcombe(round(sum(a)), len(a), round(sum(b)), len(b))
    of_a, of_b = mean(a), mean(b)
    value = of_b.value - of_a.value
    return Estimate(
        value=value,
        low=max(-1.0, value - math.hypot(of_b.value - of_b.low, of_a.high - of_a.value)),
        high=min(1.0, value + math.hypot(of_b.high - of_b.value, of_a.value - of_a.low)),
        n=min(of_a.n, of_b.n),
        method="Student t a side, combined",
    )


def _has(value: Any, path: Sequence[str]) -> bool:
    for name in path:
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return False
    return value is not None
