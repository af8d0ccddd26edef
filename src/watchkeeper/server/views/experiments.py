"""Prepares what the pages about experiments show: means with their error bars, cases, and a comparison case by case."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from watchkeeper.engines.experiments.compare import Compared
from watchkeeper.engines.experiments.sheets import rerun_effect
from watchkeeper.records.document import Bar, Bars
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.experiment import Experiment
from watchkeeper.records.record import Record
from watchkeeper.records.score import Score
from watchkeeper.server.charts import figure
from watchkeeper.server.views.wording import UNKNOWN, count, duration, percent, usd
from watchkeeper.server.visible import visible

SHOWN_CASES = 100
VERDICTS = {
    "better": ("ok", "The evidence says that it is better"),
    "worse": ("error", "The evidence says that it is worse"),
    "equivalent": ("ok", "The difference is surely within the margin that does not matter"),
    "non-inferior": ("ok", "It is surely not worse by the margin or more; it may be better"),
    "not resolved": ("plain", "Too few cases to say: neither better, nor worse, nor the same"),
}
"""The badge's tone and what a verdict means."""


class CaseRow(Record):
    """One case by one score: its values, reruns together, and what was said of it."""

    case_id: str
    score: str
    value: str
    tone: str
    explanation: str
    before: str = ""


def experiment_rows(items: Sequence[Experiment]) -> list[dict[str, Any]]:
    """Experiments as lines of a list."""
    return [
        {
            "experiment_id": each.experiment_id,
            "at_ns": each.at_ns,
            "suite": _seen(each.suite),
            "target": _seen(each.target),
            "cases": count(each.cases),
            "errors": _errors(each),
            "tone": "error" if each.errors and each.end_ns is not None else "plain",
            "means": [f"{_seen(name)} {mean_text(mean)}" for name, mean in sorted(each.summary.items())],
            "cost": usd(each.spent_usd),
            "took": duration(None if each.end_ns is None else each.end_ns - each.at_ns),
        }
        for each in items
    ]


def experiment_facts(found: Experiment) -> list[tuple[str, str]]:
    """What is known of one run."""
    compositions = ", ".join(f"{digest[:12]} ({number:,})" for digest, number in sorted(found.compositions.items()))
    return [
        ("Target", _seen(found.target)),
        ("Cases", count(found.cases)),
        ("Without an answer", _errors(found)),
        ("Cost", usd(found.spent_usd)),
        ("Took", duration(None if found.end_ns is None else found.end_ns - found.at_ns)),
        ("Answered by", compositions or UNKNOWN),
    ]


def mean_rows(summary: Mapping[str, Estimate]) -> list[dict[str, Any]]:
    """Each score's mean, its interval, and what a second run of this size could show."""
    found = []
    for name, mean in sorted(summary.items()):
        effect = rerun_effect(mean)
        found.append(
            {
                "name": _seen(name),
                "estimate": mean,
                "text": mean_text(mean),
                "n": f"{mean.n:,}",
                "method": mean.method,
                "effect": UNKNOWN if effect is None else figure(effect),
            }
        )
    return found


def mean_text(mean: Estimate) -> str:
    """A mean and its interval, briefly: 0.82 (0.74 to 0.88)."""
    if mean.value != mean.value:
        return "unknown"
    return f"{figure(mean.value)} ({figure(mean.low)} to {figure(mean.high)})"


def pictures(title: str, rows: Sequence[Mapping[str, Any]]) -> list[Bars]:
    """Estimates as bars with their intervals; `faint` in a row is what is not resolved.

    What lies within -1 and 1 shares one axis, so that it can be compared by eye; any other has a figure of its own,
    because its unit may be another. What is not known is in no picture.
    """
    bars = [
        Bar(
            name=row["name"],
            value=row["estimate"].value,
            low=row["estimate"].low,
            high=row["estimate"].high,
            faint=row.get("faint", False),
        )
        for row in rows
        if math.isfinite(row["estimate"].value)
    ]
    alike = [bar for bar in bars if _is_share(bar)]
    groups = [alike, *([bar] for bar in bars if not _is_share(bar))]
    return [Bars(title=title, bars=tuple(group)) for group in groups if group]


def _is_share(bar: Bar) -> bool:
    return all(abs(value) <= 1 for value in (bar.value, bar.low, bar.high) if math.isfinite(value))


def case_rows(scores: Iterable[Score], against: Iterable[Score] = ()) -> tuple[list[CaseRow], int]:
    """The cases to look at first, and how many there are in all.

    Without another run they are those with the lowest values, unanswered ones before all; beside one, those whose value
    moved, the deepest fall first.
    """
    now, before = _by_case(scores), _by_case(against)
    if before:
        pairs = {key: (_mean(before[key]), _mean(now[key])) for key in now.keys() & before.keys()}
        moves = {key: b - a for key, (a, b) in pairs.items() if a is not None and b is not None}
        keys = sorted((key for key, move in moves.items() if move), key=lambda key: (moves[key], key))
        rows = [_case(key, now[key], before[key], "error" if moves[key] < 0 else "ok") for key in keys[:SHOWN_CASES]]
        return rows, len(keys)
    keys = sorted(now, key=lambda key: (_low(now[key]), key))
    rows = [_case(key, now[key], (), "error" if _mean(now[key]) is None else "") for key in keys[:SHOWN_CASES]]
    return rows, len(keys)


def compared_rows(compared: Sequence[Compared]) -> list[dict[str, Any]]:
    """The comparison of each score, with its verdict and what it could have shown."""
    found = []
    for each in compared:
        it = each.comparison
        tone, means = VERDICTS[it.verdict]
        difference, effect = it.difference, it.minimum_detectable_effect
        margin = "" if it.margin is None else f", margin {figure(it.margin)}"
        found.append(
            {
                "name": _seen(each.score),
                "verdict": it.verdict,
                "tone": tone,
                "meaning": means,
                "estimate": difference,
                "faint": it.verdict == "not resolved",
                "text": f"{figure(it.mean_a)} to {figure(it.mean_b)}: {_signed(difference.value)} "
                f"({_signed(difference.low)} to {_signed(difference.high)})",
                "n": f"{it.n:,}",
                "moved": f"{it.improved:,} up, {it.worsened:,} down ({percent(it.improved + it.worsened, it.n)})",
                "p_value": figure(each.adjusted_p_value if each.adjusted_p_value is not None else it.p_value),
                "method": f"{it.method}{margin}",
                "effect": UNKNOWN if effect is None else figure(effect),
                "alone": _alone(each),
            }
        )
    return found


def _alone(each: Compared) -> str:
    sides = (("the old", each.only_a), ("the new", each.only_b))
    return ", ".join(f"{len(cases):,} in {which} only" for which, cases in sides if cases)


def _by_case(scores: Iterable[Score]) -> dict[tuple[str, str], list[Score]]:
    found: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        found.setdefault((score.subject_id, score.name), []).append(score)
    return found


def _mean(scores: Sequence[Score]) -> float | None:
    values = [score.value for score in scores if score.value is not None]
    return sum(values) / len(values) if values else None


def _low(scores: Sequence[Score]) -> float:
    mean = _mean(scores)
    return float("-inf") if mean is None else mean


def _case(key: tuple[str, str], now: Sequence[Score], before: Sequence[Score], tone: str) -> CaseRow:
    told = next((score.explanation for score in now if score.explanation), None)
    return CaseRow(
        case_id=_seen(key[0]),
        score=_seen(key[1]),
        value=_values(now),
        tone=tone,
        explanation=_seen(told),
        before=_values(before) if before else "",
    )


def _values(scores: Sequence[Score]) -> str:
    mean = _mean(scores)
    if mean is None:
        return next((_seen(score.label) for score in scores if score.label), "no value")
    return figure(mean) if len(scores) == 1 else f"{figure(mean)} over {len(scores)} answers"


def _errors(found: Experiment) -> str:
    return "not finished" if found.end_ns is None else count(found.errors)


def _signed(value: float) -> str:
    return f"+{figure(value)}" if value > 0 else figure(value)


def _seen(value: object) -> str:
    return visible(str(value)) if value is not None else ""
