"""Measures how many more labels differ between two sides than differ within a side by chance.

A model that answers otherwise each time flips labels against itself. So the share of pairs of answers to one case, one
from each side, that differ is held against the share of pairs from the same side: the excess is zero when both sides
draw from the same distribution, and above it when they do not (an energy distance over the 0-1 metric; Székely & Rizzo
2013). Its test lets the answers of a case change sides, which leaves nothing changed when nothing changed, so its level
is exact whatever the labels are.

Limits: needs at least two answers a side, and cases with fewer are left out. The excess says that the distribution of
labels moved, not whether for the better.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from math import comb
from random import Random
from statistics import fmean

import msgspec

from watchkeeper.analysis import intervals
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

Labels = Mapping[str, Sequence[Hashable]]
_EXACT_SPLITS = 70
_SAMPLED_SPLITS = 64
_DRAWS = 1_999


class Flips(Record):
    """What was found over `n` cases: the share of pairs that differ `across` the sides and `within` one, the `excess`
    of the first over the second with its interval, the p-value of none, and the cases that differ most."""

    n: int
    across: float
    within: float
    excess: Estimate
    p_value: float
    most: tuple[str, ...]


def flips(
    old: Labels, new: Labels, clusters: Mapping[str, Hashable] | None = None, *, draws: int = _DRAWS, shown: int = 5
) -> Flips | None:
    """Compare the labels of cases with two answers or more on both sides; None where there is none."""
    cases = sorted(case for case in old.keys() & new.keys() if min(len(old[case]), len(new[case])) > 1)
    if not cases:
        return None
    rng = Random(len(cases))
    excesses, tables, crossed, inside = [], [], [], []
    for case in cases:
        a, b = list(old[case]), list(new[case])
        across, within = _across(a, b), (_within(a) + _within(b)) / 2
        crossed.append(across)
        inside.append(within)
        excesses.append(across - within)
        if len({*a, *b}) > 1:
            tables.append(_splits(a + b, len(a), rng))
    observed = sum(excesses) - 1e-9
    extreme = sum(sum(rng.choice(table) for table in tables) >= observed for _ in range(draws)) if tables else draws
    groups = None if clusters is None else [clusters.get(case, case) for case in cases]
    most = sorted(zip(excesses, cases, strict=True), reverse=True)[:shown]
    return Flips(
        n=len(cases),
        across=fmean(crossed),
        within=fmean(inside),
        excess=_interval(excesses, groups),
        p_value=(1 + extreme) / (1 + draws),
        most=tuple(case for excess, case in most if excess > 0),
    )


def _interval(excesses: list[float], groups: list[Hashable] | None) -> Estimate:
    if len(set(excesses)) == 1:
        # No spread was met; at most a share 1 - 0.05^(1/n) of cases may behave otherwise (rule of three).
        half = 1 - 0.05 ** (1 / len(excesses))
        made = Estimate(
            value=excesses[0], low=excesses[0] - half, high=excesses[0] + half, n=len(excesses), method="rule of three"
        )
    elif groups is None or len(set(groups)) == len(groups):
        made = intervals.mean(excesses)
    else:
        made = intervals.clustered(excesses, groups)
    return msgspec.structs.replace(made, low=max(-1.0, made.low), high=min(1.0, made.high), unit="share")


def _splits(labels: list[Hashable], first: int, rng: Random) -> list[float]:
    """The excess for the ways to give these answers to two sides: all of them, or a sample where they are many."""
    places = range(len(labels))
    if comb(len(labels), first) <= _EXACT_SPLITS:
        chosen = [set(split) for split in combinations(places, first)]
    else:
        chosen = [set(rng.sample(places, first)) for _ in range(_SAMPLED_SPLITS)]
    found = []
    for side in chosen:
        a = [labels[i] for i in places if i in side]
        b = [labels[i] for i in places if i not in side]
        found.append(_across(a, b) - (_within(a) + _within(b)) / 2)
    return found


def _across(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    return sum(x != y for x in a for y in b) / (len(a) * len(b))


def _within(side: Sequence[Hashable]) -> float:
    return sum(x != y for x, y in combinations(side, 2)) / comb(len(side), 2)
