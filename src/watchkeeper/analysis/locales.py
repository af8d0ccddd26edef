"""Judges each locale by itself: from items that were written in it, with an interval, and never by the roll-up.

A locale whose items are all translated (or of unknown provenance), or that has fewer native items than the minimum, is
"not measured" and never passes. All others get the mean of their *native* items and, against a baseline, the paired
difference; several locales are several questions, so intervals of gates are at 1 - 0.05 / locales (Bonferroni): on
equal sides all locales together fail wrongly in at most 5% of looks.

Refusal parity compares two locales on matched prompts, item by item (exact McNemar test, Tango's interval).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from watchkeeper.analysis.intervals import mean, wilson
from watchkeeper.analysis.mcnemar import mcnemar_exact, score_interval
from watchkeeper.analysis.paired import compare
from watchkeeper.records.estimate import Estimate

Ruling = Literal["passed", "failed", "not resolved", "not measured", "measured"]
UNKNOWN = "unknown"


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One judged item. `native` is None where its provenance is unknown; `prompt` names what it asks in any locale."""

    item: str
    locale: str
    score: float | None = None
    native: bool | None = None
    refused: bool | None = None
    prompt: str | None = None


class LocaleRuling(msgspec.Struct, frozen=True, kw_only=True):
    """One locale: its items by provenance, the mean of the native ones, the difference to a baseline, the ruling."""

    locale: str
    native: int
    translated: int
    unknown: int
    unscored: int
    mean: Estimate
    difference: Estimate | None
    ruling: Ruling
    why: str


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """Refusals of a locale minus those of the reference, on the same prompts."""

    locale: str
    reference: str
    prompts: int
    only_reference: int
    only_locale: int
    difference: Estimate
    p_value: float
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
    before = None if baseline is None else {row.item: row.score for row in baseline if row.score is not None}
    return [
        _rule([row for row in rows if row.locale == name], before, floor, margin, (least, confidence)) for name in names
    ]


def _rule(
    rows: Sequence[Observation],
    before: Mapping[str, float] | None,
    floor: float | None,
    margin: float | None,
    strict: tuple[int, float],
) -> LocaleRuling:
    least, confidence = strict
    native = {row.item: row.score for row in rows if row.native and row.score is not None}
    scores = list(native.values())
    binary = all(score in (0.0, 1.0) for score in scores)
    level = wilson(sum(scores), len(scores), confidence=confidence) if binary else mean(scores, confidence=confidence)
    difference, ruling, why = None, "measured", "no gate was asked for"
    if len(native) < max(1, least):
        has = "no native items" if not native else f"{len(native)} native items with a score"
        ruling, why = "not measured", f"{has}, and at least {max(1, least)} are needed; write some in this locale"
    else:
        if floor is not None:
            ruling, why = _above(level, floor, f"the mean of native items against {floor:g}")
        if before is not None:
            difference, judged, because = _against(native, before, margin, confidence)
            if floor is None or ("passed", "not resolved", "failed").index(judged) > (
                "passed", "not resolved", "failed").index(ruling):  # fmt: skip
                ruling, why = judged, because
    return LocaleRuling(
        locale=rows[0].locale, native=sum(row.native is True for row in rows),
        translated=sum(row.native is False for row in rows), unknown=sum(row.native is None for row in rows),
        unscored=sum(row.score is None for row in rows), mean=level, difference=difference, ruling=ruling, why=why,  # type: ignore[arg-type]
    )  # fmt: skip


def _above(found: Estimate, bound: float, what: str) -> tuple[str, str]:
    if found.low >= bound:
        return "passed", f"{what}: the interval lies above"
    return ("failed", f"{what}: the interval lies below") if found.high < bound else ("not resolved", f"{what}: open")


def _against(
    now: Mapping[str, float], before: Mapping[str, float], margin: float | None, confidence: float
) -> tuple[Estimate | None, str, str]:
    both = now.keys() & before.keys()
    if not both:
        return None, "not resolved", "no native item stands in the baseline"
    found = compare({i: before[i] for i in both}, {i: now[i] for i in both}, confidence=confidence, margin=None)
    if found.verdict == "worse":
        return found.difference, "failed", "native items are worse than the baseline's"
    if margin is None:
        return found.difference, "passed", "native items are not shown to be worse"
    ruling, why = _above(found.difference, -margin, f"native items against the baseline, margin {margin:g}")
    return found.difference, "not resolved" if ruling == "failed" else ruling, why


def refusal_parity(rows: Sequence[Observation], reference: str) -> list[Parity]:
    """Each other locale against the reference, on prompts that both answer or refuse; Holm is not needed for one look
    at Bonferroni's level, which is taken."""
    answers: dict[str, dict[str, bool]] = {}
    for row in rows:
        if row.prompt is not None and row.refused is not None:
            answers.setdefault(row.locale, {})[row.prompt] = row.refused
    known = answers.pop(reference, {})
    found = []
    for locale, refused in sorted(answers.items()):
        both = sorted(known.keys() & refused.keys())
        if not both:
            continue
        only_known = sum(known[each] and not refused[each] for each in both)
        only_here = sum(refused[each] and not known[each] for each in both)
        alpha = 0.05 / len(answers)
        p_value = mcnemar_exact(only_known, only_here)
        found.append(
            Parity(
                locale=locale, reference=reference, prompts=len(both), only_reference=only_known, only_locale=only_here,
                difference=score_interval(only_known, only_here, len(both), confidence=1 - alpha), p_value=p_value,
                unequal=p_value < alpha,
            )
        )  # fmt: skip
    return found
