"""Notices that the same texts are billed as other numbers of tokens than before.

Problem
    A provider changes the tokenizer behind a model's name. Nothing fails; every budget, margin and price per text that
    was measured is wrong from then on, for some languages far more than for others.

Method
    Calls of one model whose prompts are the same, word for word, are probes: a probing job sends fixed texts, and much
    traffic repeats prompts by itself. Of each probe the first count in the window is compared with the last (see
    `analysis/tokenizer_change.py`): counts that all moved by one number are another frame around the request, counts
    that moved by different numbers are another tokenizer, and a few that moved may be glitches, for which an exact
    binomial test at 0.0001 allows `glitches` of the probes.

    Measured on 500 simulated weeks of 20 probes, each counted four times, without a change and with 1% of the counts
    off by accident: none raised an alert (at most 0.6% do, at 95% confidence). A swap that moved each count by 3% to
    13% was found and named as a tokenizer in all of 500, and a frame of 7 tokens found and named as one in all of 500.

Limits
    Without repeated prompts it sees nothing, and three are the fewest that prove anything. It reads recorded requests
    and is blind where they are not kept. A probe whose length is below what the change moves does not change.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Annotated, ClassVar, NamedTuple

import msgspec

from watchkeeper.analysis.prefix import parts_of
from watchkeeper.analysis.tokenizer_change import ALPHA, FEWEST, GLITCHES, Change, Probe, compare
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.monitor import Window
from watchkeeper.queries.prompts import Prompted, prompted
from watchkeeper.queries.question import Reader
from watchkeeper.records.finding import Finding
from watchkeeper.records.ids import new_id
from watchkeeper.records.span import Span

_DAY_NS = 86_400_000_000_000


class _Found(NamedTuple):
    model: str
    change: Change
    since_ns: int


class Tokenizer(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of the same texts over time; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="tokenizer",
        version="1",
        theme="spend",
        summary="Notices that the same texts are billed as other numbers of tokens than before.",
        references=("Clopper & Pearson 1934 (exact binomial test)",),
    )
    every: ClassVar[timedelta] = timedelta(minutes=15)

    model: Annotated[str | None, msgspec.Meta(description="Only calls of this model.")] = None
    window_days: Annotated[float, msgspec.Meta(gt=0, le=400, description="How far back counts are compared.")] = 7.0
    calls: Annotated[int, msgspec.Meta(ge=10, le=10_000, description="At most so many of the last calls.")] = 2_000
    min_probes: Annotated[
        int, msgspec.Meta(ge=FEWEST, description="The fewest repeated texts that may raise an alert.")
    ] = FEWEST
    glitches: Annotated[
        float, msgspec.Meta(ge=0, lt=0.5, description="The share of counts that may differ by accident.")
    ] = GLITCHES

    async def check(self, window: Window, reader: Reader) -> Finding | None:
        """Compare the counts of repeated prompts; a finding for the model whose counts changed most surely."""
        since = max(0, window.end_ns - round(self.window_days * _DAY_NS))
        calls = await prompted(reader, since, window.end_ns, self.calls, self.model)
        found = [each for each in (self._look(*group) for group in _by_model(calls).items()) if each is not None]
        if not found:
            return None
        worst = min(found, key=lambda each: each.change.p_value)
        return _finding(worst, since, window.end_ns)

    def _look(self, model: str, probes: dict[str, list[Span]]) -> _Found | None:
        pairs = [
            Probe(name=name, before=_counted(calls[0]), after=_counted(calls[-1]))
            for name, calls in probes.items()
            if len(calls) > 1 and _counted(calls[0]) > 0
        ]
        if len(pairs) < self.min_probes:
            return None
        change = compare(pairs, self.glitches, ALPHA)
        if change.kind not in ("tokenizer", "frame"):
            return None
        since_ns = min(_moved_ns(probes[probe.name]) for probe in pairs if probe.before != probe.after)
        again = [probe for probe in pairs if probes[probe.name][-1].start_ns >= since_ns]
        told = compare(again, self.glitches, ALPHA) if len(again) >= self.min_probes else change
        return _Found(model, told if told.kind in ("tokenizer", "frame") else change, since_ns)


def _by_model(calls: tuple[Prompted, ...]) -> dict[str, dict[str, list[Span]]]:
    """The calls of each model by what was asked, oldest first."""
    found: dict[str, dict[str, list[Span]]] = {}
    for span, request in calls:
        model = span.request_model or span.model
        if model is None or request is None:
            continue
        parts = b"\x1e".join(f"{part.role}\x1f{part.text}".encode() for part in parts_of(request))
        name = hashlib.blake2b(parts, digest_size=8).hexdigest()
        found.setdefault(model, {}).setdefault(name, []).append(span)
    return found


def _counted(span: Span) -> int:
    return span.usage.input_tokens or 0


def _moved_ns(calls: list[Span]) -> int:
    """When a probe was first counted as it is now."""
    last = _counted(calls[-1])
    since = calls[-1].start_ns
    for call in reversed(calls):
        if _counted(call) != last:
            break
        since = call.start_ns
    return since


def _finding(found: _Found, since_ns: int, at_ns: int) -> Finding:
    change, model = found.change, found.model
    texts = f"{change.changed} of {change.probes} repeated texts are billed as other numbers of tokens than before"
    if change.kind == "frame":
        what = (
            f"{texts}, all by {change.frame_tokens:+,}: the provider adds another frame around a request to {model}; "
            "its tokenizer is the same."
        )
    else:
        ratio = change.ratio
        what = (
            f"{texts}, by different numbers: the tokenizer behind {model} changed. The same text costs "
            f"{ratio.value:.3f} times the tokens (95% interval {ratio.low:.3f} to {ratio.high:.3f}). Measure margins "
            "and limits anew."
        )
    return Finding(
        finding_id=new_id("fnd", at_ns),
        monitor=Tokenizer.header.id,
        version=Tokenizer.header.version,
        subject=f"tokenizer:{model}",
        at_ns=at_ns,
        window_start_ns=since_ns,
        window_end_ns=at_ns,
        severity="ticket" if change.kind == "tokenizer" else "note",
        sentence=what,
        estimate=change.ratio,
        evidence={
            "model": model,
            "kind": change.kind,
            "probes": change.probes,
            "changed": change.changed,
            "p_value": change.p_value,
            "first_seen_ns": found.since_ns,
            "frame_tokens": change.frame_tokens,
            **{f"probe_{each.name}": f"{each.before} to {each.after} tokens" for each in change.most},
        },
    )
