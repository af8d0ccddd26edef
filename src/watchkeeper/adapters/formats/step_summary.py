"""Writes a run as Markdown: the summary of a CI step, and the comment under a pull request."""

from __future__ import annotations

import re

from watchkeeper.records.sheet import Sheet, Verdict

SHOWN = 20
_SIGNS = {True: "✅ passed", False: "❌ failed", None: "⚠️ not resolved"}
_ESCAPED = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~@])")


def step_summary(sheet: Sheet) -> str:
    """The run as Markdown: gates first, then scores with their error bars, the verdicts, and the cases that failed."""
    lines = [f"### Eval {_safe(sheet.suite)}", ""]
    if sheet.lines:
        lines += [f"{_safe(sheet.target)}, {_count(sheet)}, {_spent(sheet)}", ""]
    if sheet.ended is not None:
        lines += [f"Not all cases were asked: {_safe(sheet.ended)}", ""]
    lines += [f"- {_SIGNS[each.passed]}: {_safe(each.gate)}. {_safe(each.sentence)}" for each in sheet.rulings]
    lines += [""] if sheet.rulings else []
    lines += _changes(sheet)
    lines += _verdicts(sheet)
    lines += _scores(sheet) if sheet.lines else []
    lines += _failed(sheet)
    return "\n".join(lines).rstrip() + "\n"


def _count(sheet: Sheet) -> str:
    failed = sum(line.passed is False for line in sheet.lines)
    problems = sum(line.problem is not None for line in sheet.lines)
    return f"{len(sheet.lines)} answers, {failed} below the bar, {problems} could not be had"


def _spent(sheet: Sheet) -> str:
    return "cost unknown" if sheet.spent_usd is None else f"cost ${sheet.spent_usd:.4g}"


def _changes(sheet: Sheet) -> list[str]:
    if sheet.baseline is None:
        return []
    if sheet.changes is None:
        return [f"Compared with {_safe(sheet.baseline)}: what differs in the composition is not known here.", ""]
    if not sheet.changes:
        return [f"Compared with {_safe(sheet.baseline)}: the composition is the same.", ""]
    rows = [f"| {_safe(name)} | {_cell(old)} | {_cell(new)} |" for name, old, new in sheet.changes]
    return [
        f"Compared with {_safe(sheet.baseline)}, what differs:",
        "",
        "| layer | before | now |",
        "|---|---|---|",
        *rows,
        "",
    ]


def _verdicts(sheet: Sheet) -> list[str]:
    if not sheet.verdicts:
        return []
    head = [
        "| score | verdict | difference (95% interval) | p | smallest difference it could show | n | better / worse |"
    ]
    rows = []
    for each in sheet.verdicts:
        effect = each.minimum_detectable_effect
        found = each.difference
        rows.append(
            f"| {_safe(each.score)} | **{each.verdict}** "
            f"| {found.value:+.3g} ({found.low:+.3g} to {found.high:+.3g}) | "
            f"{each.p_value:.3g} | {'unknown' if effect is None else f'{effect:.3g}'} | {each.n} | "
            f"{each.improved} / {each.worsened} |"
        )
    return [*head, "|---|---|---|---|---|---|---|", *rows, "", *_regressed(sheet.verdicts)]


def _regressed(verdicts: tuple[Verdict, ...]) -> list[str]:
    told: list[str] = []
    for each in verdicts:
        if each.regressed:
            more = len(each.regressed) - SHOWN
            names = ", ".join(_safe(name) for name in each.regressed[:SHOWN])
            told.append(f"Fell in {_safe(each.score)}: {names}{f' and {more} more' if more > 0 else ''}")
    return [*told, ""] if told else []


def _scores(sheet: Sheet) -> list[str]:
    if not sheet.summary:
        return ["No answer could be judged.", ""]
    rows = []
    for name, mean in sheet.summary.items():
        effect = sheet.effects.get(name)
        rows.append(
            f"| {_safe(name)} | {mean.value:.3g} | {mean.low:.3g} to {mean.high:.3g} | {mean.n} | "
            f"{'unknown' if effect is None else f'{effect:.3g}'} |"
        )
    return [
        "| score | mean | 95% interval | n | smallest change a rerun could show |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]


def _failed(sheet: Sheet) -> list[str]:
    failed = [line for line in sheet.lines if line.passed is False or line.problem is not None]
    if not failed:
        return []
    rows = [
        f"| {_safe(line.case_id)} | {_cell(line.problem or line.explanation)} | {_cell(line.expected)} "
        f"| {_cell(line.said)} |"
        for line in failed[:SHOWN]
    ]
    more = [f"… and {len(failed) - SHOWN} more"] if len(failed) > SHOWN else []
    head = [
        "<details><summary>Cases below the bar</summary>",
        "",
        "| case | why | expected | came |",
        "|---|---|---|---|",
    ]
    return [*head, *rows, "", *more, "</details>", ""]


def _cell(text: str | None) -> str:
    return "" if text is None else _safe(text[:200])


def _safe(text: str) -> str:
    """A text that shows as it is, whatever a model wrote: no markup, no mention, no line of its own."""
    flat = " ".join(text.encode("utf-8", "replace").decode().split())
    return _ESCAPED.sub(r"\\\1", flat).replace("@", "@\u200b")
