"""Compares two runs of a suite, case by case: better, worse, equivalent or not resolved, and what could not be paired.

Scores are joined only where scorer, version and parameters are the same: another scorer is another ruler.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from watchkeeper.analysis.multiplicity import holm
from watchkeeper.analysis.paired import Comparison, compare
from watchkeeper.engines.experiments.results import Result
from watchkeeper.records.record import Record
from watchkeeper.records.score import Score

_ALPHA = 0.05


class NotComparable(ValueError):
    """Two runs that cannot be compared; the message says what differs and what to do."""


class Side(Record):
    """One run, by what it is called, with its scores and the margin that its suite declared.

    `clusters` maps a case to its cluster, where it has one.
    """

    name: str
    scores: tuple[Score, ...]
    clusters: dict[str, str] = {}
    margin: float | None = None


class Compared(Record):
    """The comparison of one score over both runs. `only_a` and `only_b` name the cases that one side alone scored.

    `adjusted_p_value` is Holm's over all scores that were compared; "better" and "worse" need it below 0.05 as well.
    """

    score: str
    scorer: str
    version: str
    comparison: Comparison
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    adjusted_p_value: float | None = None


def side_of_results(name: str, results: Sequence[Result]) -> Side:
    """A side from the results in a file."""
    clusters = {result.case_id: result.cluster for result in results if result.cluster is not None}
    margin = next((result.margin for result in results if result.margin is not None), None)
    scores = tuple(score for result in results for score in result.scores)
    return Side(name=name, scores=scores, clusters=clusters, margin=margin)


def side_of_scores(name: str, scores: Iterable[Score]) -> Side:
    """A side from recorded scores; a case's cluster stands among its scores' attributes."""
    kept = tuple(scores)
    clusters = {score.subject_id: str(score.attributes["cluster"]) for score in kept if "cluster" in score.attributes}
    # The index keeps the values of attributes as text.
    margins = (float(str(score.attributes["margin"])) for score in kept if "margin" in score.attributes)
    return Side(name=name, scores=kept, clusters=clusters, margin=next(margins, None))


def compare_sides(a: Side, b: Side, margin: float | None = None) -> tuple[Compared, ...]:
    """Compare every score that both sides have; raises `NotComparable` when there is none, or the rulers differ.

    Without a `margin` that of side b's suite holds, else that of a's. Margins are held for all scores together.
    """
    margin = next((each for each in (margin, b.margin, a.margin) if each is not None), None)
    rulers_a, rulers_b = _rulers(a), _rulers(b)
    both = sorted(rulers_a.keys() & rulers_b.keys())
    if not both:
        raise NotComparable(
            f"{a.name} has the scores {_list(rulers_a)} and {b.name} has {_list(rulers_b)}: none is in both. "
            "Run both with the same scorers."
        )
    for name in both:
        if rulers_a[name] != rulers_b[name]:
            raise NotComparable(_difference(name, (a.name, rulers_a[name]), (b.name, rulers_b[name])))
    clusters = {**a.clusters, **b.clusters}
    valued = {name: pair for name in both if any(pair := (_values(a, name), _values(b, name)))}
    compared = tuple(_one(name, rulers_a[name], pair, clusters, margin, len(valued)) for name, pair in valued.items())
    if not compared:
        raise NotComparable(
            f"neither {a.name} nor {b.name} has a score with a value. See why their calls failed, and run them again."
        )
    return _adjusted(compared)


_Ruler = tuple[str, str, str]


def _one(
    name: str,
    ruler: _Ruler,
    values: tuple[dict[str, list[float]], dict[str, list[float]]],
    clusters: dict[str, str],
    margin: float | None,
    claims: int,
) -> Compared:
    in_a, in_b = values
    both = in_a.keys() & in_b.keys()
    groups = {case: clusters.get(case, case) for case in both}
    grouped = len(set(groups.values())) < len(both)
    return Compared(
        score=name,
        scorer=ruler[0],
        version=ruler[1],
        comparison=compare(in_a, in_b, margin, clusters=groups if grouped else None, claims=claims),
        only_a=tuple(sorted(in_a.keys() - both)),
        only_b=tuple(sorted(in_b.keys() - both)),
    )


def _adjusted(compared: tuple[Compared, ...]) -> tuple[Compared, ...]:
    found = []
    for each, p_value in zip(compared, holm([one.comparison.p_value for one in compared]), strict=True):
        comparison = each.comparison
        if comparison.verdict in ("better", "worse") and p_value >= _ALPHA:
            held = "non-inferior" if comparison.non_inferior else "not resolved"
            comparison = msgspec.structs.replace(comparison, verdict=held)
        found.append(msgspec.structs.replace(each, comparison=comparison, adjusted_p_value=p_value))
    return tuple(found)


def _values(side: Side, name: str) -> dict[str, list[float]]:
    """The values of a score by case, reruns together; a score without a value leaves its case unpaired."""
    found: dict[str, list[float]] = defaultdict(list)
    for score in side.scores:
        if score.name == name and score.value is not None:
            found[score.subject_id].append(score.value)
    return dict(found)


def _rulers(side: Side) -> dict[str, _Ruler]:
    found: dict[str, set[_Ruler]] = defaultdict(set)
    for score in side.scores:
        found[score.name].add((score.scorer, score.version, score.parameters))
    for name, rulers in found.items():
        if len(rulers) > 1:
            raise NotComparable(
                f"{side.name} has scores called {name!r} from {len(rulers)} different scorers, versions or parameters. "
                "Give them different names in the suite and run it again."
            )
    return {name: next(iter(rulers)) for name, rulers in found.items()}


def _difference(name: str, a: tuple[str, _Ruler], b: tuple[str, _Ruler]) -> str:
    (name_a, ruler_a), (name_b, ruler_b) = a, b
    what, x, y = next(
        (w, x, y) for w, x, y in zip(("scorer", "version", "parameters"), ruler_a, ruler_b, strict=True) if x != y
    )
    return (
        f"the scores {name!r} are not of one kind: {what} {x[:16]!r} in {name_a} and {what} {y[:16]!r} in {name_b}. "
        "Run the older suite again with today's scorer, then compare."
    )


def _list(rulers: dict[str, _Ruler]) -> str:
    return ", ".join(sorted(rulers)) or "none"
