"""Judges each locale by itself: from items that were written in it, with an interval, and never by the roll-up.

A locale whose items are all translated (or of unknown provenance), or that has fewer native items than the minimum, is
"not measured" and never passes. All others get the mean of their *native* items and, against a baseline, the paired
difference; several locales are several questions, so intervals of gates are at 1 - 0.05 / locales (Bonferroni): on
equal sides all locales together fail wrongly in at most 5% of looks.

An item that was asked several times is one item: its scores are averaged first. Items of one cluster hang together, and
intervals are then cluster-robust.

Refusal parity compares two locales on matched prompts, prompt by prompt, repeats averaged (exact McNemar test and
Tango's interval where each prompt was asked once, sign flips and t else), at 1 - 0.05 / locales as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Literal

import msgspec

from watchkeeper.analysis.intervals import clustered, clustered_rate, mean, wilson
from watchkeeper.analysis.paired import compare
from watchkeeper.records.estimate import Estimate

Ruling = Literal["passed", "failed", "not resolved", "not measured", "measured"]
UNKNOWN = "unknown"
REPEATED = ", repeats averaged within item"


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One judged answer to an item.

    `native` is None where its provenance is unknown; `prompt` names what it asks, whatever the locale.
    """

    item: str
    locale: str
    score: float | None = None
    native: bool | None = None
    refused: bool | None = None
    prompt: str | None = None
    cluster: str | None = None


class LocaleRuling(msgspec.Struct, frozen=True, kw_only=True):
    """One locale: its items by provenance, the mean of the native ones, the difference to a baseline, the ruling.

    `answers` counts what was judged, repeats included; `unpaired` native items have a score on one side alone.
    """

    locale: str
    native: int
    translated: int
    unknown: int
    unscored: int
    answers: int
    unpaired: int
    mean: Estimate
    difference: Estimate | None
    ruling: Ruling
    why: str


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """Refusals of a locale minus those of the reference, on the same prompts.

    `only_reference` and `only_locale` count prompts that are refused more often there; without a common prompt nothing
    is known.
    """

    locale: str
    reference: str
    prompts: int
    unmatched: int
    reference_rate: float
    locale_rate: float
    only_reference: int
    only_locale: int
    difference: Estimate
    p_value: float
    minimum_detectable_effect: float | None
    method: str
    unequal: bool


def rule_locales(
    rows: Sequence[Observation],
    baseline: Sequence[Observation] | None = None,
    *,
    floor: float | None = None,
    margin: float | None = None,
    least: int = 30,
) -> list[LocaleRuling]:
    """Every locale's ruling, by name. With a baseline a locale fails when it is worse, and passes when it is not worse
    by `margin` (without one: when it is not shown to be worse). With `floor` the interval must lie above it to pass."""
    names = sorted({row.locale for row in rows})
    confidence = 1 - 0.05 / max(1, len(names))
    before = None if baseline is None else [row for row in baseline if row.score is not None]
    return [
        _rule(
            [row for row in rows if row.locale == name],
            None if before is None else [row for row in before if row.locale == name],
            (floor, margin),
            (least, confidence),
        )
        for name in names
    ]


def _rule(
    rows: Sequence[Observation],
    before: Sequence[Observation] | None,
    gates: tuple[float | None, float | None],
    strict: tuple[int, float],
) -> LocaleRuling:
    (floor, margin), (least, confidence) = gates, strict
    provenance = _provenance(rows)
    native = {item: scores for item, scores in _scores(rows).items() if provenance[item] == "native"}
    clusters = {row.item: row.cluster or row.item for row in rows}
    level = _level(native, clusters, confidence)
    difference, unpaired, ruling, why = None, 0, "measured", "no gate was asked for"
    if len(native) < max(1, least):
        has = "no native items" if not native else f"{len(native)} native items with a score"
        ruling, why = "not measured", f"{has}, and at least {max(1, least)} are needed; write some in this locale"
    else:
        if floor is not None:
            ruling, why = _above(level, floor, f"the mean of native items against {floor:g}")
        if before is not None:
            known = _provenance(before) | provenance
            then = {item: scores for item, scores in _scores(before).items() if known[item] == "native"}
            unpaired = len(native.keys() ^ then.keys())
            difference, judged, because = _against(native, then, clusters, margin, confidence)
            if floor is None or ("passed", "not resolved", "failed").index(judged) > (
                "passed", "not resolved", "failed").index(ruling):  # fmt: skip
                ruling, why = judged, because
    kinds = list(provenance.values())
    return LocaleRuling(
        locale=rows[0].locale, native=kinds.count("native"), translated=kinds.count("translated"),
        unknown=kinds.count("unknown"), unscored=len(provenance.keys() - _scores(rows).keys()),
        answers=sum(row.score is not None for row in rows), unpaired=unpaired, mean=level, difference=difference,
        ruling=ruling, why=why,  # type: ignore[arg-type]
    )  # fmt: skip


def _provenance(rows: Sequence[Observation]) -> dict[str, str]:
    """Each item's provenance; one that is told in several ways counts as the least of them."""
    found: dict[str, str] = {}
    for row in rows:
        kind = {True: "native", False: "translated", None: "unknown"}[row.native]
        found[row.item] = max(found.get(row.item, "native"), kind, key=("native", "unknown", "translated").index)
    return found


def _scores(rows: Sequence[Observation]) -> dict[str, list[float]]:
    """The scores of each item, repeats together; an item without a score is not in it."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.score is not None:
            found.setdefault(row.item, []).append(row.score)
    return found


def _level(items: Mapping[str, Sequence[float]], clusters: Mapping[str, str], confidence: float) -> Estimate:
    """The mean over items, each the mean of its repeats."""
    values = [fmean(scores) for scores in items.values()]
    groups = [clusters[item] for item in items]
    repeated = any(len(scores) > 1 for scores in items.values())
    together = len(set(groups)) < len(groups)
    within = all(0.0 <= value <= 1.0 for value in values)
    if not repeated and not together and all(value in (0.0, 1.0) for value in values):
        return wilson(sum(values), len(values), confidence=confidence)
    if within and (repeated or together):
        level = clustered_rate(values, groups, confidence=confidence)
    else:
        level = (clustered if together else _alone)(values, groups, confidence=confidence)
    return msgspec.structs.replace(level, method=level.method + REPEATED) if repeated else level


def _alone(values: Sequence[float], _: Sequence[str], confidence: float) -> Estimate:
    return mean(values, confidence=confidence)


def _above(found: Estimate, bound: float, what: str) -> tuple[str, str]:
    if found.low >= bound:
        return "passed", f"{what}: the interval lies above"
    return ("failed", f"{what}: the interval lies below") if found.high < bound else ("not resolved", f"{what}: open")


def _against(
    now: Mapping[str, Sequence[float]],
    before: Mapping[str, Sequence[float]],
    clusters: Mapping[str, str],
    margin: float | None,
    confidence: float,
) -> tuple[Estimate | None, str, str]:
    both = now.keys() & before.keys()
    if not both:
        return None, "not resolved", "no native item stands in the baseline"
    found = compare(
        {item: before[item] for item in both},
        {item: now[item] for item in both},
        confidence=confidence,
        clusters=_grouped(both, clusters),
    )
    difference = msgspec.structs.replace(found.difference, method=found.method)
    if found.verdict == "worse":
        return difference, "failed", "native items are worse than the baseline's"
    if margin is None:
        return difference, "passed", "native items are not shown to be worse"
    ruling, why = _above(found.difference, -margin, f"native items against the baseline, margin {margin:g}")
    return difference, "not resolved" if ruling == "failed" else ruling, why


def _grouped(items: Collection[str], clusters: Mapping[str, str]) -> dict[str, str] | None:
    """The clusters of some items; None where each is alone."""
    groups = {item: clusters[item] for item in items}
    return groups if len(set(groups.values())) < len(groups) else None


def refusal_parity(rows: Sequence[Observation], reference: str) -> list[Parity]:
    """Each other locale against the reference, on prompts that were answered or refused in both."""
    answers: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row.prompt is not None and row.refused is not None:
            answers.setdefault(row.locale, {}).setdefault(row.prompt, []).append(float(row.refused))
    known = answers.pop(reference, {})
    alpha = 0.05 / max(1, len(answers))
    return [_parity(locale, reference, known, refused, alpha) for locale, refused in sorted(answers.items())]


def _parity(
    locale: str, reference: str, known: Mapping[str, list[float]], here: Mapping[str, list[float]], alpha: float
) -> Parity:
    both = sorted(known.keys() & here.keys())
    found = compare(
        {prompt: known[prompt] for prompt in both}, {prompt: here[prompt] for prompt in both}, confidence=1 - alpha
    )
    return Parity(
        locale=locale, reference=reference, prompts=len(both), unmatched=len(known.keys() ^ here.keys()),
        reference_rate=found.mean_a, locale_rate=found.mean_b, only_reference=found.worsened,
        only_locale=found.improved, difference=found.difference, p_value=found.p_value,
        minimum_detectable_effect=found.minimum_detectable_effect, method=found.method,
        unequal=found.verdict in ("better", "worse"),
    )  # fmt: skip
