"""Reports what changes when a model or a prompt is exchanged: a matrix of kinds of change by slice, and a gate.

Both sides answer the same cases several times, side by side. For the whole and for each slice it tells, each with its
interval: every score, failed calls, parse failures, refusals and truncations (rates), label flips and tool patterns
beyond what a side flips by itself, and length, latency and cost (ratios of per-case means).

A cell is called better, worse or different only where its p-value, adjusted over the whole matrix (Benjamini and
Hochberg), is below 0.05: when both sides are the same, any cell of a report is called so in about one report in twenty
at most. The gate is about scores, failed calls, parse failures and refusals. Each must be non-inferior in *every*
slice, so a slice that is worse blocks although the mean improves, and one with too few cases is not resolved.

Limits: an answer is expected to be JSON where the request says so, a scorer checks a schema, or most answers of the old
side are. Labels are short answers and the short texts and flags of JSON answers. Refusals are known by their beginning,
in English, and by the finish reason. Latencies that hang together (one busy hour, one queue) say more than they know.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from watchkeeper.analysis.flips import flips
from watchkeeper.analysis.multiplicity import benjamini_hochberg, holm
from watchkeeper.analysis.paired import Comparison
from watchkeeper.analysis.refusals import begins_as_refusal
from watchkeeper.engines.experiments.arms import Answers, against
from watchkeeper.engines.experiments.results import Result
from watchkeeper.records.case import Case
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

Kind = Literal["score", "rate", "flips", "ratio"]
Verdict = Literal["better", "worse", "different", "equivalent", "non-inferior", "not resolved"]
Measure = Callable[[Result], float | None]
ALL = "all"
_ALPHA = 0.05
_EXAMPLES = 5
_LABELS = 6
_TIME = "latency in s"
_FENCE = re.compile(r"\A\s*```[\w+-]*[ \t]*\r?\n(.*?)\r?\n?[ \t]*```\s*\Z", re.DOTALL)


class Cell(Record):
    """One kind of change in one slice. `old` and `new` are means, shares, or for ratios means in their unit.

    `change` is new minus old, for flips the excess over chance, for ratios new over old. `passed` is the gate's word on
    it: None where the cases cannot say or it is not gated (`gated`). A change may be seen and still lie within the
    margin. `examples` name cases that changed most, `drift` the labels whose share over all cases moved.
    """

    what: str
    kind: Kind
    slice: str
    n: int
    old: float
    new: float
    change: Estimate
    p_value: float
    adjusted_p_value: float
    verdict: Verdict
    gated: bool
    passed: bool | None
    minimum_detectable_effect: float | None = None
    examples: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()


class Migration(Record):
    """A report: the matrix, and the gate's word over all of it. `blocking` names the cells that did not pass."""

    old: str
    new: str
    cases: int
    runs: int
    margin: float
    cells: tuple[Cell, ...]
    passed: bool | None
    blocking: tuple[str, ...]

    @property
    def changed(self) -> tuple[Cell, ...]:
        """The cells that are called better, worse or different."""
        return tuple(cell for cell in self.cells if cell.verdict in ("better", "worse", "different"))


def migration(
    old: Answers,
    new: Answers,
    slices: Mapping[str, str],
    margin: float,
    scores: Sequence[str],
    price: Measure,
    json_wanted: bool = False,
    timed: bool = True,
) -> Migration:
    """Compare the answers of two sides. `slices` maps cases to slices; `json_wanted` says that answers must be JSON.

    With `timed` False latencies are left out: those of answers that were kept from before are of another hour.
    """
    wants_json = json_wanted or _mostly_json(old)
    names = [ALL, *(sorted(set(slices.values())) if len(set(slices.values())) > 1 else ())]
    cells: list[Cell] = []
    for name in names:
        some = None if name == ALL else {case for case, where in slices.items() if where == name}
        sides = _only(old, some), _only(new, some)
        cells += (
            each for each in _cells(name, sides, margin, scores, price, wants_json) if timed or each.what != _TIME
        )
    cells = _adjusted(cells)
    gated = [cell for cell in cells if cell.gated]
    states = {cell.passed for cell in gated}
    passed = False if False in states else None if None in states or not gated else True
    blocking = tuple(f"{cell.what} in {cell.slice}" for cell in gated if cell.passed is not True)
    runs = max((result.repeat + 1 for result in old.results), default=0)
    return Migration(
        old=old.name,
        new=new.name,
        cases=len({result.case_id for result in old.results}),
        runs=runs,
        margin=margin,
        cells=tuple(cells),
        passed=passed,
        blocking=blocking,
    )


def slices_of(cases: Sequence[Case], attribute: str | None) -> dict[str, str]:
    """Each case's slice by an attribute; "(none)" for a case without it; raises `ValueError` where no case has it."""
    if attribute is None:
        return {case.case_id: ALL for case in cases}
    found = {case.case_id: str(case.attributes.get(attribute, "(none)")) for case in cases}
    if set(found.values()) == {"(none)"}:
        known = ", ".join(sorted({name for case in cases for name in case.attributes})) or "none"
        raise ValueError(f"No case has an attribute {attribute!r} to slice by. There are: {known}.")
    return {case: "all (so called)" if where == ALL else where for case, where in found.items()}


def _cells(
    name: str, sides: tuple[Answers, Answers], margin: float, scores: Sequence[str], price: Measure, wants_json: bool
) -> Iterator[Cell]:
    old, new = sides
    for score in scores:
        found = against(old.values(score), new.values(score), old.clusters, margin)
        yield from _compared(score, "score", name, found, sides, None)
    bad: dict[str, Measure] = {"failed calls": lambda r: float(r.error is not None), "refusals": refused}
    if wants_json:
        bad["parse failures"] = unparsed
    for what, measure in {**bad, "truncations": _truncated}.items():
        # Fewer is better: the comparison is of what went well.
        good = _flipped(measure)
        found = against(old.measured(good), new.measured(good), old.clusters, margin)
        yield from _compared(what, "rate", name, found, sides, measure, gated=what in bad)
    for what, label in (("label flips", label_of), ("tool pattern", tools_of)):
        yield from _flips(what, name, sides, label)
    ratios: dict[str, Measure] = {
        "output tokens": lambda r: r.output_tokens,
        "output characters": lambda r: None if r.output is None else len(r.output),
        _TIME: lambda r: r.duration_ns / 1e9 if r.error is None else None,
        "cost in $": lambda r: price(r) if r.error is None else None,
    }
    for what, measure in ratios.items():
        yield from _ratio(what, name, sides, measure)


def _compared(
    what: str,
    kind: Kind,
    name: str,
    found: Comparison,
    sides: tuple[Answers, Answers],
    bad: Measure | None,
    gated: bool = True,
) -> Iterator[Cell]:
    if not found.n:
        return
    change, old, new = found.difference, found.mean_a, found.mean_b
    examples: tuple[str, ...] = ()
    if bad is not None:
        change = msgspec.structs.replace(change, value=0.0 - change.value, low=0.0 - change.high, high=0.0 - change.low)
        old, new = 1 - old, 1 - new
        examples = _worst(sides, bad)
    passed = True if found.verdict in ("better", "equivalent", "non-inferior") else None
    if found.verdict == "worse":
        passed = False
    if found.unpaired_a > found.unpaired_b and passed:
        passed = None  # cases that only the old side could answer are missing from the difference
    yield Cell(
        what=what,
        kind=kind,
        slice=name,
        n=found.n,
        old=old,
        new=new,
        change=change,
        p_value=found.p_value,
        adjusted_p_value=1.0,
        verdict=_seen(found),
        gated=gated,
        passed=passed if gated else None,
        minimum_detectable_effect=found.minimum_detectable_effect,
        examples=examples,
    )


def _seen(found: Comparison) -> Verdict:
    """What is seen whether or not it matters: a change within the margin is a change."""
    if found.p_value < _ALPHA and found.difference.excludes(0.0):
        return "better" if found.difference.value > 0 else "worse"
    return found.verdict if found.verdict in ("equivalent", "non-inferior") else "not resolved"


def _flips(
    what: str, name: str, sides: tuple[Answers, Answers], label: Callable[[Result], Hashable | None]
) -> Iterator[Cell]:
    old, new = sides
    labels = _labels(old, label), _labels(new, label)
    found = flips(*labels, old.clusters)
    if found is not None:
        drift, p_value = _drift(labels, old.clusters)
        yield Cell(
            what=what,
            kind="flips",
            slice=name,
            n=found.n,
            old=found.within,
            new=found.across,
            change=found.excess,
            p_value=min(1.0, 2 * min(found.p_value, p_value)),
            adjusted_p_value=1.0,
            verdict="different",
            gated=False,
            passed=None,
            examples=found.most,
            drift=drift,
        )


def _drift(
    labels: tuple[Mapping[str, Sequence[Hashable]], Mapping[str, Sequence[Hashable]]], clusters: Mapping[str, str]
) -> tuple[tuple[str, ...], float]:
    """The labels whose share over all cases moved, the most common ones looked at, and the least p-value (Holm).

    The excess of flips is a square of small shares, and blind to a rare label that is new in every case alike.
    """
    counted = Counter(name for side in labels for values in side.values() for name in values)
    shares = []
    for name, _ in counted.most_common(_LABELS) if len(counted) > 1 else ():
        rates = [{case: [float(each == name) for each in values] for case, values in side.items()} for side in labels]
        found = against(rates[0], rates[1], clusters)
        shares.append((found.p_value, f"{name or '(none)'}: {found.mean_a:.1%} to {found.mean_b:.1%}"))
    adjusted = holm([p_value for p_value, _ in shares])
    moved = sorted((p, said) for p, (_, said) in zip(adjusted, shares, strict=True))
    return tuple(said for p, said in moved if p < _ALPHA), min(adjusted, default=1.0)


def _ratio(what: str, name: str, sides: tuple[Answers, Answers], measure: Measure) -> Iterator[Cell]:
    means = [
        {case: sum(values) / len(values) for case, values in side.measured(measure).items() if sum(values) > 0}
        for side in sides
    ]
    both = means[0].keys() & means[1].keys()
    if not both:
        return
    logs = [{case: [math.log(side[case])] for case in both} for side in means]
    found = against(logs[0], logs[1], sides[0].clusters)
    change = found.difference
    yield Cell(
        what=what,
        kind="ratio",
        slice=name,
        n=found.n,
        old=sum(means[0][case] for case in both) / len(both),
        new=sum(means[1][case] for case in both) / len(both),
        change=msgspec.structs.replace(
            change,
            value=_exp(change.value),
            low=_exp(change.low),
            high=_exp(change.high),
            unit="ratio",
            method=f"{change.method} of log ratios",
        ),
        p_value=found.p_value,
        adjusted_p_value=1.0,
        verdict="not resolved" if found.verdict == "not resolved" else "different",
        gated=False,
        passed=None,
    )


def _adjusted(cells: list[Cell]) -> list[Cell]:
    """The verdicts that stand after the adjustment over the whole matrix."""
    made = []
    for cell, p_value in zip(cells, benjamini_hochberg([cell.p_value for cell in cells]), strict=True):
        verdict, passed = cell.verdict, cell.passed
        if verdict in ("better", "worse", "different") and p_value >= _ALPHA:
            verdict = "not resolved"
        if passed is False and verdict != "worse":
            passed = None
        made.append(msgspec.structs.replace(cell, adjusted_p_value=p_value, verdict=verdict, passed=passed))
    return made


def refused(result: Result) -> float | None:
    """1 where the answer is a refusal, None where the call failed."""
    if result.error is not None:
        return None
    stopped = result.finish_reason in ("refusal", "content_filter")
    return float(stopped or begins_as_refusal(result.output or ""))


def unparsed(result: Result) -> float | None:
    """1 where the answer is not JSON as it stands, None where the call failed or a tool was called instead."""
    if result.error is not None or (result.output is None and result.calls is not None):
        return None
    return float(_parsed(result.output or "") is _NOTHING)


def label_of(result: Result) -> Hashable | None:
    """The label of an answer: a short text, or the short texts and flags of a JSON object; None where it has none."""
    if result.output is None:
        return None
    fenced = _FENCE.match(result.output)
    value = _parsed(fenced[1] if fenced else result.output)
    if isinstance(value, dict):
        kept = [(k, v) for k, v in value.items() if isinstance(v, bool) or (isinstance(v, str) and len(v) <= 40)]
        return json.dumps(sorted(kept)) if kept else None
    text = " ".join(result.output.casefold().split()).strip(".!\"'*` ")
    return text if 0 < len(text) <= 80 and refused(result) == 0 else None


def tools_of(result: Result) -> Hashable | None:
    """The names of the tools that an answer calls, in their order; "" for none, None where the call failed."""
    if result.error is not None:
        return None
    try:
        calls = msgspec.json.decode(result.calls or "[]")
        return " > ".join(str(call["name"]) for call in calls)
    except (msgspec.DecodeError, KeyError, TypeError):
        return "(unreadable)"


_NOTHING = object()


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NOTHING


def _truncated(result: Result) -> float | None:
    return None if result.error is not None else float(result.finish_reason in ("length", "max_tokens"))


def _flipped(measure: Measure) -> Measure:
    def good(result: Result) -> float | None:
        bad = measure(result)
        return None if bad is None else 1.0 - bad

    return good


def _mostly_json(side: Answers) -> bool:
    said = [result.output for result in side.results if result.output]
    objects = sum(isinstance(_parsed(text), dict | list) for text in said)
    return bool(said) and objects > len(said) / 2


def _labels(side: Answers, label: Callable[[Result], Hashable | None]) -> dict[str, list[Hashable]]:
    found: dict[str, list[Hashable]] = {}
    for result in side.results:
        name = label(result)
        if name is not None:
            found.setdefault(result.case_id, []).append(name)
    return found


def _worst(sides: tuple[Answers, Answers], bad: Measure) -> tuple[str, ...]:
    old, new = (side.measured(bad) for side in sides)
    risen = {
        case: sum(new[case]) / len(new[case]) - sum(old[case]) / len(old[case]) for case in old.keys() & new.keys()
    }
    most = sorted(risen.items(), key=lambda each: (-each[1], each[0]))[:_EXAMPLES]
    return tuple(case for case, rise in most if rise > 0)


def _only(side: Answers, cases: set[str] | None) -> Answers:
    if cases is None:
        return side
    return Answers(name=side.name, results=tuple(each for each in side.results if each.case_id in cases))


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
