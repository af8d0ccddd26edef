"""Reads a judge's scores and people's labels out of a table, and corrects the one by the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import msgspec

from watchkeeper.analysis.ppi import Corrected, Row, corrected_mean
from watchkeeper.engines.experiments.tables import Columns, TableError, read_scores

Named = tuple[str, int, Corrected]
"""A group, how many of its rows had no score or no item, and its corrected mean."""


class _Item(NamedTuple):
    """The judge's scores and the labels of one item of one group."""

    judge: list[float]
    labels: list[float]
    cluster: str | None
    stratum: str | None


def correct(path: Path, columns: Columns, label: str) -> list[Named]:
    """The corrected mean of each group, in the order of their names; `columns.slice` names the strata.

    Rows of one item are averaged first. Raises `TableError` and ValueError for what cannot be corrected.
    """
    groups, missing = _items(path, columns, label)
    return [
        (
            name,
            missing[name],
            corrected_mean([_row(each) for each in groups[name].values()], bounds=_bounds(groups[name])),
        )
        for name in sorted(groups)
    ]


def correct_difference(path: Path, columns: Columns, label: str, a: str, b: str) -> Named:
    """The corrected difference b - a over the items that both groups have; an item is labelled if both sides are."""
    groups, missing = _items(path, columns, label)
    for name in (a, b):
        if name not in groups:
            raise TableError(f"{columns.by} is nowhere {name!r}; it is: {', '.join(sorted(groups)[:20])}.")
    shared = sorted(groups[a].keys() & groups[b].keys())
    if not shared:
        raise TableError("The two groups share no item, so nothing can be paired. Look at --item, --a and --b.")
    rows = []
    for item in shared:
        first, second = groups[a][item], groups[b][item]
        both = bool(first.labels and second.labels)
        rows.append(
            Row(
                judge=fmean(second.judge) - fmean(first.judge),
                label=fmean(second.labels) - fmean(first.labels) if both else None,
                cluster=first.cluster,
                stratum=first.stratum,
            )
        )
    outcomes = None not in (_bounds(groups[a]), _bounds(groups[b]))
    found = corrected_mean(rows, bounds=(-1.0, 1.0) if outcomes else None)
    alone = len(groups[a].keys() ^ groups[b].keys())
    if alone:
        note = f"{alone} items are in one group only; they are in no figure."
        found = msgspec.structs.replace(found, notes=(*found.notes, note))
    return f"{b} - {a}", missing[a] + missing[b], found


def _items(path: Path, columns: Columns, label: str) -> tuple[dict[str, dict[str, _Item]], Mapping[str, int]]:
    scores = read_scores(path, columns)
    labels = read_scores(path, msgspec.structs.replace(columns, score=label))
    groups: dict[str, dict[str, _Item]] = defaultdict(dict)
    missing: dict[str, int] = defaultdict(int)
    for score, said in zip(scores, labels, strict=True):
        if score.item is None or score.score is None:
            missing[score.group] += 1
            continue
        held = groups[score.group].setdefault(score.item, _Item([], [], score.cluster, score.slice))
        if (held.cluster, held.stratum) != (score.cluster, score.slice):
            raise TableError(f"The item {score.item!r} lies in two clusters or strata. Name more columns with --item.")
        held.judge.append(score.score)
        if said.score is not None:
            held.labels.append(said.score)
    if not groups:
        raise TableError(f"{path} has no row with a score of the judge in {columns.score}.")
    return groups, missing


def _row(item: _Item) -> Row:
    return Row(
        judge=fmean(item.judge),
        label=fmean(item.labels) if item.labels else None,
        cluster=item.cluster,
        stratum=item.stratum,
    )


def _bounds(items: Mapping[str, _Item]) -> tuple[float, float] | None:
    """0 to 1 for outcomes, None for scores that have no ends that one could know."""
    outcomes = {label for item in items.values() for label in item.labels} <= {0.0, 1.0}
    return (0.0, 1.0) if outcomes else None
