"""Draws a capability map: cells of task family, difficulty and input shape, each with its own measured rate.

A cell is the values of some columns together. Each has its rate with an interval from its own items and nothing else:
nothing is interpolated between cells, and a cell without items is unmeasured. Reruns of an item and items of a cluster
are taken together.

- A cell is "passing" when its whole interval is at or above the bar, "failing" when all of it is below. It is
  "unmeasured" when it has so few items that it would not pass if all of them were right, else "open". The intervals are
  exact (Clopper-Pearson) and widened for the number of cells (Bonferroni), so that of all calls on a map any is wrong
  in at most `alpha`.
- A pair "easy fails, hard passes" is two cells that differ in one column only, where the one that comes first in the
  given order has the lower rate: Fisher's exact test, adjusted (Holm) over all such pairs.
- Between versions each cell both have is tested, paired by item where the items are the same (`analysis/paired.py`),
  else by Fisher's exact test; adjusted over cells (Holm). Lost cells come first, whatever the average gained.

Limits: rates are of scores that are 0 or 1 (others are held against `good`). Pairs are tested over items as if they
were independent. Many small cells leave most of them open: that is the truth, not a fault of the map.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import msgspec

from watchkeeper.analysis.cells import FEATURE, cell_of, content_digest, feature, state_of, text
from watchkeeper.analysis.exact_binomial import clopper_pearson
from watchkeeper.analysis.intervals import clustered_rate, wilson
from watchkeeper.analysis.multiplicity import holm
from watchkeeper.analysis.paired import compare
from watchkeeper.analysis.two_proportions import fisher_exact, newcombe
from watchkeeper.engines.experiments.rows import Row, TableError, rows_of
from watchkeeper.records.capability_map import CapabilityMap, Cell, Inversion, Key, State
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.manifest import Manifest
from watchkeeper.records.record import Record

ALPHA = 0.05
MOST_CELLS = 2_000


class Measured(NamedTuple):
    """One judged answer: its cell, its item, its cluster (None: alone), and whether it was right."""

    cell: Key
    item: str
    cluster: str | None
    right: float


class Answers(NamedTuple):
    """The judged answers of a file, how many had no score, and the compositions that gave them (their digests)."""

    measured: list[Measured]
    unjudged: int = 0
    compositions: tuple[str, ...] = ()


class Gate(Record):
    """What answering only in passing cells does: `coverage` of the items, and the error rates without and with it."""

    coverage: Estimate
    errors_before: Estimate
    errors_after: Estimate
    route: tuple[Key, ...]


class Traffic(Record):
    """Live traffic laid over a map: the share in each state, and the busiest cells that are not passing."""

    calls: int
    passing: Estimate
    open: Estimate
    failing: Estimate
    unmeasured: Estimate
    busiest: tuple[tuple[Key, str, int], ...]


class Change(Record):
    """A cell in two versions. `verdict`: "lost", "gained", "not resolved", or "unmeasured in A" or "in B"."""

    cell: Key
    rate_a: Estimate | None
    rate_b: Estimate | None
    difference: Estimate | None
    p_value: float | None
    verdict: str


class Changes(Record):
    """Cells of two versions, lost ones first; `average` is the mean change over the cells that both have."""

    cells: tuple[Change, ...]
    average: float | None


def read_measured(
    path: Path, by: Sequence[str], score: str, item: str | None = None, cluster: str | None = None, good: float = 1.0
) -> Answers:
    """The judged answers of a file; raises `TableError`.

    A row has the columns `by` (its own, or among its `attributes` or `metadata`) and `score`, the score as a column or
    in the `scores` of a run's file.
    """
    found: list[Measured] = []
    unjudged = 0
    compositions: dict[str, None] = {}
    needed = [*([item] if item else []), *([cluster] if cluster else [])]
    for number, key, row in _placed(path, by, needed):
        value = _score(row, score)
        if value is None:
            unjudged += 1
            continue
        name = text(row.get(item)) if item else text(row.get("case_id")) or text(row.get("id"))
        group = text(row.get(cluster)) if cluster else ""
        if composition := text(row.get("composition")):
            compositions[composition] = None
        found.append(Measured(key, name or f"row {number}", group or None, right_of(value, good)))
    if not found:
        raise TableError(
            f"{path} has no row with a score {score!r}. Name the column or the suite's score with --score."
        )
    return Answers(found, unjudged, tuple(compositions))


def right_of(value: float, good: float) -> float:
    """How right a score is, from 0 to 1: as it is where that is its range, else whether it is as high as `good`."""
    return value if good == 1.0 and 0 <= value <= 1 else float(value >= good)


def read_cells(path: Path, by: Sequence[str]) -> list[Key]:
    """The cell of each row of live traffic; raises `TableError`."""
    return [key for _, key, _ in _placed(path, by, ())]


def _placed(path: Path, by: Sequence[str], needed: Sequence[str]) -> Iterator[tuple[int, Key, Row]]:
    """The rows of a file with their cells; raises `TableError` for a column that no row has."""
    absent = dict.fromkeys(by)
    number = 0
    for number, row in rows_of(path, needed):
        for name in [name for name in absent if row.has(name) or feature(row.get, name)]:
            del absent[name]
        yield number, cell_of(row.get, by), row
    if absent and number:
        name = next(iter(absent))
        raise TableError(
            f"{path} has no column {name!r}, of its own or among `attributes` (also as {FEATURE}{name}) or `metadata`."
        )


def draw(
    answers: Sequence[Measured],
    columns: Sequence[str],
    bar: float = 0.8,
    orders: Mapping[str, Sequence[str]] | None = None,
    unjudged: int = 0,
    alpha: float = ALPHA,
) -> CapabilityMap:
    """The map of some answers. `orders` says for a column which values are easier, the easiest first."""
    groups = _by_cell(answers)
    if len(groups) > MOST_CELLS:
        raise TableError(f"{len(groups):,} cells are more than {MOST_CELLS:,}; take fewer or coarser columns.")
    return CapabilityMap(
        columns=tuple(columns),
        bar=bar,
        cells=tuple(judge(key, groups[key], bar, 1 - alpha / len(groups)) for key in sorted(groups)),
        inversions=_inversions(groups, columns, orders or {}, alpha),
        unjudged=unjudged,
        orders={name: tuple(values) for name, values in (orders or {}).items()},
    )


def judge(key: Key, answers: Sequence[Measured], bar: float, confidence: float) -> Cell:
    """One cell: its rate, and its state against the bar at a confidence."""
    if not answers:
        return Cell(cell=key, rate=None, state="unmeasured")
    rate = _rate(answers, confidence)
    state: State = "passing" if rate.low >= bar else "failing" if rate.high < bar else "open"
    if state == "open" and bar < 1 and _rate([each._replace(right=1.0) for each in answers], confidence).low < bar:
        state = "unmeasured"
    return Cell(cell=key, rate=rate, state=state)


def items_needed(bar: float, confidence: float) -> int:
    """How many items, all of them right, let a cell pass: below that it is unmeasured."""
    return math.ceil(math.log((1 - confidence) / 2) / math.log(bar))


def sealed(drawn: CapabilityMap, score: str, compositions: Sequence[Manifest], at_ns: int) -> CapabilityMap:
    """The map as it is written: with what was measured, on what and when, and named by the digest of all that."""
    whole = msgspec.structs.replace(drawn, score=score, compositions=tuple(compositions), at_ns=at_ns)
    return msgspec.structs.replace(whole, digest=content_digest(whole))


def gate(drawn: CapabilityMap, answers: Sequence[Measured]) -> Gate:
    """What answering only in passing cells does to answers that the map was *not* drawn from."""
    passing = {each.cell for each in drawn.cells if each.state == "passing"}
    inside = [each for each in answers if each.cell in passing]
    return Gate(
        coverage=wilson(len(inside), len(answers)),
        errors_before=wilson(sum(1 - each.right for each in answers), len(answers)),
        errors_after=wilson(sum(1 - each.right for each in inside), len(inside)),
        route=tuple(each.cell for each in drawn.cells if each.state != "passing"),
    )


def traffic(drawn: CapabilityMap, calls: Sequence[Key]) -> Traffic:
    """Which share of live calls falls into cells of each state."""
    counts: dict[Key, int] = defaultdict(int)
    for key in calls:
        counts[key] += 1
    states = {key: state_of(drawn, key) for key in counts}
    shares: dict[str, int] = defaultdict(int)
    for key, count in counts.items():
        shares[states[key]] += count
    doubtful = [(key, states[key], count) for key, count in counts.items()]
    doubtful = sorted((each for each in doubtful if each[1] != "passing"), key=lambda each: (-each[2], each[0]))
    return Traffic(
        calls=len(calls),
        passing=wilson(shares["passing"], len(calls)),
        open=wilson(shares["open"], len(calls)),
        failing=wilson(shares["failing"], len(calls)),
        unmeasured=wilson(shares["unmeasured"], len(calls)),
        busiest=tuple(doubtful[:20]),
    )


def changes(a: Sequence[Measured], b: Sequence[Measured], alpha: float = ALPHA) -> Changes:
    """How the cells changed from version A to B."""
    old, new = _by_cell(a), _by_cell(b)
    both = sorted(old.keys() & new.keys())
    tested = [_tested(old[key], new[key]) for key in both]
    adjusted = holm([p_value for p_value, _ in tested])
    found = []
    for key, (_, difference), p_value in zip(both, tested, adjusted, strict=True):
        verdict = "not resolved" if p_value >= alpha else "lost" if difference.value < 0 else "gained"
        found.append(
            Change(
                cell=key,
                rate_a=_rate(old[key], 0.95),
                rate_b=_rate(new[key], 0.95),
                difference=difference,
                p_value=p_value,
                verdict=verdict,
            )
        )
    order = {"lost": 0, "gained": 1, "not resolved": 2}
    found.sort(key=lambda each: (order[each.verdict], each.difference.value if each.difference else 0.0))
    average = fmean(each.difference.value for each in found if each.difference) if found else None
    found += [_alone(key, old[key], "B") for key in sorted(old.keys() - new.keys())]
    found += [_alone(key, new[key], "A") for key in sorted(new.keys() - old.keys())]
    return Changes(cells=tuple(found), average=average)


def _alone(key: Key, answers: Sequence[Measured], missing: str) -> Change:
    rate = _rate(answers, 0.95)
    return Change(
        cell=key,
        rate_a=rate if missing == "B" else None,
        rate_b=rate if missing == "A" else None,
        difference=None,
        p_value=None,
        verdict=f"unmeasured in {missing}",
    )


def _tested(a: Sequence[Measured], b: Sequence[Measured]) -> tuple[float, Estimate]:
    items_a, items_b = _items(a), _items(b)
    if items_a.keys() == items_b.keys():
        clusters = {each.item: each.cluster or each.item for each in [*a, *b]}
        clustered = len(set(clusters.values())) < len(clusters)
        found = compare(items_a, items_b, clusters=clusters if clustered else None)
        return found.p_value, found.difference
    counts = _count(a), len(items_a), _count(b), len(items_b)
    return fisher_exact(*counts), newcombe(*counts)


def _inversions(
    groups: Mapping[Key, Sequence[Measured]],
    columns: Sequence[str],
    orders: Mapping[str, Sequence[str]],
    alpha: float,
) -> tuple[Inversion, ...]:
    pairs: list[tuple[str, Key, Key]] = []
    for place, column in enumerate(columns):
        ranks = {value: rank for rank, value in enumerate(orders.get(column, ()))}
        for first, second in combinations(sorted(groups), 2):
            rest = first[:place] + first[place + 1 :] == second[:place] + second[place + 1 :]
            if rest and first[place] in ranks and second[place] in ranks:
                easy, hard = sorted((first, second), key=lambda key: ranks[key[place]])
                pairs.append((column, easy, hard))
    counts = {key: (_count(answers), len(_items(answers))) for key, answers in groups.items()}
    adjusted = holm([fisher_exact(*counts[easy], *counts[hard]) for _, easy, hard in pairs])
    found = []
    for (column, easy, hard), p_value in zip(pairs, adjusted, strict=True):
        difference = newcombe(*counts[easy], *counts[hard])
        if difference.value > 0:
            found.append(
                Inversion(
                    column=column,
                    easy=easy,
                    hard=hard,
                    easy_rate=wilson(*counts[easy]),
                    hard_rate=wilson(*counts[hard]),
                    difference=difference,
                    p_value=p_value,
                    separated=p_value < alpha and difference.low > 0,
                )
            )
    return tuple(sorted(found, key=lambda each: (not each.separated, each.p_value)))


def _by_cell(answers: Iterable[Measured]) -> dict[Key, list[Measured]]:
    groups: dict[Key, list[Measured]] = defaultdict(list)
    for each in answers:
        groups[each.cell].append(each)
    return groups


def _items(answers: Sequence[Measured]) -> dict[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for each in answers:
        values[each.item].append(each.right)
    return {item: fmean(found) for item, found in values.items()}


def _count(answers: Sequence[Measured]) -> int:
    """Items that were right in more than half of their reruns."""
    return sum(value > 0.5 for value in _items(answers).values())


def _rate(answers: Sequence[Measured], confidence: float) -> Estimate:
    groups = [each.cluster or each.item for each in answers]
    if len(set(groups)) < len(answers):
        return clustered_rate([each.right for each in answers], groups, confidence=confidence)
    hits = sum(each.right for each in answers)
    if hits != int(hits):
        return wilson(hits, len(answers), confidence=confidence)
    return clopper_pearson(int(hits), len(answers), confidence=confidence)


def _score(row: Row, name: str) -> float | None:
    value: Any = row.get(name)
    scores = row.get("scores")
    if value is None and isinstance(scores, list):
        value = next(
            (each.get("value") for each in scores if isinstance(each, dict) and each.get("name") == name), None
        )
    if isinstance(value, str):
        said = value.strip().casefold()
        value = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "": None}.get(said, said)
    try:
        found = None if value is None else float(value)
    except ValueError:
        raise TableError(f"The score {name!r} is {str(value)[:60]!r} in a row, which is no number.") from None
    return None if found is None or found != found else found
