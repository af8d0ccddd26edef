"""Says whether the tokenizer behind a model changed, from the same texts billed before and after.

A tokenizer is a function: the same text has the same number of tokens every time. So fixed texts, sent again, are
probes: one whose count differs says that something changed. When all counts changed by the same number of tokens the
provider adds another frame around a request, and the tokenizer is the same. When they changed by different numbers it
is another tokenizer. Counts that differ by accident (a reply served by a fallback, a retried call) are allowed for:
the number of changed probes must be more than such glitches explain (exact binomial test).

Limits: it says that counts changed, not why; a provider may have changed its model, its template and its tokenizer at
once. Probes of one length cannot tell a frame from a tokenizer. Fewer than three probes prove nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Literal

from watchkeeper.analysis.quantiles import binomial_cdf, t_quantile
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

FEWEST = 3
GLITCHES = 0.02
ALPHA = 1e-4

Kind = Literal["same", "frame", "tokenizer", "undecided"]


class Probe(Record):
    """One text, and its billed input tokens before and after."""

    name: str
    before: int
    after: int


class Change(Record):
    """What the probes say. `ratio` is new over old tokens with its interval; `p_value` is that of glitches alone."""

    kind: Kind
    probes: int
    changed: int
    p_value: float
    ratio: Estimate
    frame_tokens: int = 0
    most: tuple[Probe, ...] = ()


def compare(probes: Sequence[Probe], glitches: float = GLITCHES, alpha: float = ALPHA) -> Change:
    """Compare the counts of probes before and after; raises `ValueError` without any probe."""
    if not probes:
        raise ValueError("A comparison needs at least one probe. Send the same texts twice.")
    shifts = Counter(probe.after - probe.before for probe in probes)
    frame, most_shared = shifts.most_common(1)[0]
    changed = sum(1 for probe in probes if probe.after != probe.before)
    odd = len(probes) - most_shared
    p_value = _tail(changed, len(probes), glitches)
    beside_frame = _tail(odd, len(probes), glitches)
    if len(probes) < FEWEST:
        kind: Kind = "undecided" if changed else "same"
    elif p_value >= alpha:
        kind = "same"
    elif frame and 2 * most_shared > len(probes) and beside_frame >= alpha:
        kind = "frame"
    else:
        kind = "tokenizer"
    ranked = sorted((p for p in probes if p.after != p.before), key=lambda p: -abs(p.after - p.before) / p.before)
    return Change(
        kind=kind,
        probes=len(probes),
        changed=changed,
        p_value=p_value,
        ratio=_ratio(probes),
        frame_tokens=frame if kind == "frame" else 0,
        most=tuple(ranked[:5]),
    )


def _tail(k: int, n: int, p: float) -> float:
    """The chance of `k` or more glitches among `n` probes."""
    return 1.0 if k <= 0 else max(0.0, 1 - binomial_cdf(k - 1, n, p))


def _ratio(probes: Sequence[Probe]) -> Estimate:
    logs = [math.log(max(1, probe.after) / max(1, probe.before)) for probe in probes]
    mean, n = fmean(logs), len(logs)
    half = t_quantile(0.975, n - 1) * stdev(logs) / math.sqrt(n) if n > 1 else math.inf
    return Estimate(
        value=math.exp(mean),
        low=math.exp(mean - half),
        high=math.exp(mean + half) if half < math.inf else math.inf,
        n=n,
        method="geometric mean ratio, Student's t on logs",
        unit="ratio",
    )
