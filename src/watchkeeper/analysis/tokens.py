"""Estimates the tokens of a text without its tokenizer, and says by how much such estimates are wrong.

A text is counted by classes of characters (Latin letters, digits, spaces, Han, kana, Cyrillic ...), and each class has
a weight in tokens. The weights are learnt from billed calls by non-negative least squares on relative errors (Lawson &
Hanson 1974, here by coordinate descent), shrunk towards a prior where a class was rarely seen. How wrong the estimate
is on calls that it did not learn from is told by slice: the ratio of billed to estimated tokens, and the ratio that 99%
of calls stay below, as an order statistic with its distribution-free confidence bound (Wilks 1941).

Limits: a script is not a language (Spanish and English are one slice, Latin), and code is told from prose by its look.
Images, files and what a provider adds to a request by itself are in the bill and not in the text. With fewer than 299
calls in a slice nothing can be said of its 99th percentile at 95% confidence, and nothing is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev

from watchkeeper.analysis.quantiles import binomial_cdf, t_quantile
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

_CLASSES: tuple[tuple[str, str, float], ...] = (
    ("latin", r"[A-Za-z]", 0.21),
    ("accented", r"[\u00c0-\u024f\u1e00-\u1eff]", 0.45),
    ("digit", r"[0-9]", 0.45),
    ("space", r"[ ]", 0.05),
    ("break", r"[\n\r\t]", 0.5),
    ("mark", r"[!-/:-@\[-`{-~]", 0.55),
    ("han", r"[\u3400-\u9fff\uf900-\ufaff]", 1.0),
    ("kana", r"[\u3040-\u30ff\uff66-\uff9f]", 0.8),
    ("hangul", r"[\u1100-\u11ff\uac00-\ud7af]", 0.9),
    ("cyrillic", r"[\u0400-\u052f]", 0.4),
    ("greek", r"[\u0370-\u03ff]", 0.6),
    ("arabic", r"[\u0600-\u06ff\u0750-\u077f]", 0.5),
    ("hebrew", r"[\u0590-\u05ff]", 0.6),
    ("indic", r"[\u0900-\u0dff]", 0.7),
    ("thai", r"[\u0e00-\u0e7f]", 0.7),
)
"""Classes of characters, and the tokens a character of each is taken for before anything was learnt."""

OVERHEAD, MESSAGE, OTHER = "overhead", "message", "other"
_PRIOR = {name: weight for name, _, weight in _CLASSES} | {OTHER: 1.2, OVERHEAD: 3.0, MESSAGE: 4.0}
_MATCHERS = tuple((name, re.compile(pattern)) for name, pattern, _ in _CLASSES)
_SCRIPTS = ("kana", "hangul", "han", "cyrillic", "greek", "arabic", "hebrew", "indic", "thai")
_SHOWN = {"kana": "japanese", "hangul": "korean", "han": "chinese"}
_CODE = re.compile(
    r"^\s*(?:def|class|import|from|return|if|for|while|fn|func|const|let|var|public|private|#include|SELECT|package)\b"
    r"|[;{}]\s*$|=>|->|\w\(.*\)\s*[:;{]?\s*$",
    re.MULTILINE,
)
_SHRINK = 2.0
_ROUNDS = 200
_SAMPLE = 20_000


class Sample(Record):
    """A call to learn from or to judge by: its features, its slice, and the input tokens that were billed."""

    features: dict[str, float]
    slice: str
    billed: int


class Weights(Record):
    """Tokens by class of character, learnt from `n` calls."""

    by_class: dict[str, float]
    n: int = 0

    def estimate(self, features: Mapping[str, float]) -> float:
        """Tokens of a text with these features; never less than one."""
        return max(1.0, sum(self.by_class.get(name, _PRIOR[OTHER]) * count for name, count in features.items()))


class SliceError(Record):
    """How far estimates of one slice were off: billed over estimated tokens.

    `ratio` is their mean with its 95% interval. `margin` is the ratio that 99% of calls stay below; its `high` is the
    upper bound of it at 95% confidence, infinite where there are too few calls to say.
    """

    slice: str
    ratio: Estimate
    margin: Estimate


PRIOR = Weights(by_class=_PRIOR)
"""What is assumed before anything was learnt: about four English characters a token."""


def features_of(texts: Iterable[str]) -> dict[str, float]:
    """What the estimate rests on: characters by class over all texts, one overhead, and the number of texts."""
    found: dict[str, float] = {OVERHEAD: 1.0, MESSAGE: 0.0}
    for text in texts:
        found[MESSAGE] += 1
        left = len(text)
        for name, matcher in _MATCHERS if not text.isascii() else _ASCII:
            count = len(matcher.findall(text))
            if count:
                found[name] = found.get(name, 0.0) + count
                left -= count
        if left > 0:
            found[OTHER] = found.get(OTHER, 0.0) + left
    return found


_ASCII = tuple((name, matcher) for name, matcher in _MATCHERS if name in ("latin", "digit", "space", "break", "mark"))


def slice_of(text: str) -> str:
    """The slice of a text: its writing system if most letters are of one, and whether it is prose, code or JSON."""
    text = text[:_SAMPLE]
    return f"{script_of(text)} {content_of(text)}"


def script_of(text: str) -> str:
    """The writing system: "latin", "japanese", "cyrillic" ...; kana among Han are Japanese."""
    counts = {name: len(matcher.findall(text)) for name, matcher in _MATCHERS}
    letters = sum(counts[name] for name in (*_SCRIPTS, "latin", "accented"))
    if not letters:
        return "none"
    if counts["kana"] > 0.1 * letters:
        return "japanese"
    name = max(_SCRIPTS, key=lambda each: counts[each])
    return _SHOWN.get(name, name) if counts[name] > 0.4 * letters else "latin"


def content_of(text: str) -> str:
    """What a text looks like: "json", "code" or "prose"."""
    stripped = text.strip()
    if stripped[:1] in ("{", "["):
        try:
            json.loads(stripped)
        except (ValueError, RecursionError):
            quoted = stripped.count('":')
            return "json" if quoted > 3 else "prose"
        return "json"
    lines = [line for line in stripped.splitlines() if line.strip()]
    coded = sum(1 for line in lines if _CODE.search(line))
    return "code" if len(lines) > 2 and coded > 0.4 * len(lines) else "prose"


def learn(samples: Sequence[Sample], prior: Weights = PRIOR) -> Weights:
    """The weights that make the relative errors of these calls small; without calls, the prior."""
    usable = [sample for sample in samples if sample.billed > 0]
    names = sorted({name for sample in usable for name in sample.features} | set(prior.by_class))
    weights = {name: prior.by_class.get(name, _PRIOR[OTHER]) for name in names}
    gram = {name: dict.fromkeys(names, 0.0) for name in names}
    aims = dict.fromkeys(names, 0.0)
    for sample in usable:
        scaled = [(name, count / sample.billed) for name, count in sample.features.items() if count]
        for name, value in scaled:
            aims[name] += value
            row = gram[name]
            for other, more in scaled:
                row[other] += value * more
    pulls = {name: _SHRINK * (gram[name][name] / max(1, len(usable))) for name in names}
    for _ in range(_ROUNDS if usable else 0):
        moved = 0.0
        for name in names:
            curve = gram[name][name] + pulls[name]
            if not curve:
                continue
            row = gram[name]
            rest = sum(row[other] * weights[other] for other in names if other != name)
            start = prior.by_class.get(name, _PRIOR[OTHER])
            weight = max(0.0, (aims[name] - rest + pulls[name] * start) / curve)
            moved = max(moved, abs(weight - weights[name]))
            weights[name] = weight
        if moved < 1e-9:
            break
    return Weights(by_class=weights, n=len(usable))


def errors_by_slice(samples: Iterable[Sample], weights: Weights) -> tuple[SliceError, ...]:
    """How far the estimates of these calls are off, by slice, and over all of them together last."""
    ratios: dict[str, list[float]] = {}
    everything: list[float] = []
    for sample in samples:
        ratio = sample.billed / weights.estimate(sample.features)
        ratios.setdefault(sample.slice, []).append(ratio)
        everything.append(ratio)
    rows = [_error(name, found) for name, found in sorted(ratios.items())]
    return (*rows, _error("all", everything)) if everything else ()


def _error(name: str, ratios: list[float]) -> SliceError:
    return SliceError(slice=name, ratio=_mean(ratios), margin=upper_quantile(ratios, 0.99))


def _mean(values: list[float]) -> Estimate:
    n, mean = len(values), fmean(values)
    half = t_quantile(0.975, n - 1) * stdev(values) / math.sqrt(n) if n > 1 else math.inf
    return Estimate(
        value=mean, low=max(0.0, mean - half), high=mean + half, n=n, method="mean ratio, Student's t", unit="ratio"
    )


def upper_quantile(values: Sequence[float], q: float, confidence: float = 0.95) -> Estimate:
    """The `q` quantile of a sample with a one-sided upper bound that holds at `confidence` whatever the distribution.

    The bound is the smallest order statistic k for which at most k - 1 of n values lie below the quantile with
    probability `confidence`; infinite where n is too small for any (n < 299 for q = 0.99).
    """
    if not values:
        raise ValueError("A quantile needs at least one value, and got none. Give the measured values.")
    ordered, n = sorted(values), len(values)
    value = ordered[min(n - 1, max(0, math.ceil(q * n) - 1))]
    first = max(1, math.ceil(q * n))
    k = next((k for k in range(first, n + 1) if binomial_cdf(k - 1, n, q) >= confidence), None)
    return Estimate(
        value=value,
        low=-math.inf,
        high=math.inf if k is None else ordered[k - 1],
        n=n,
        method="order statistic, one-sided upper bound (Wilks)",
        confidence=confidence,
        unit="ratio",
    )
