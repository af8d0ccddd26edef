"""Gives the probability that an output format's mask took away from a reply, from log-probabilities before the mask.

Constrained decoding forbids tokens that would break the format. At each token the forbidden ones had some probability
m; over the reply, 1 - (1 - m1)(1 - m2)... is the chance that the model, left alone along this reply, would have left
the format somewhere. Near 0 the mask changed nothing; near 1 the model wanted to say something else, for example to
think first. That is an early sign of a cost, not a measure of it.

Where the provider states it (`masked_mass` in `logprobs`), it is exact. Else it is a lower bound from `top_logprobs`:
each alternative after which the text can become no such JSON object any more counts; what is not listed does not.

Limits: only for formats that are JSON objects. The bound holds for log-probabilities as they are before the mask; a
provider that reports them after it shows 0, which bounds nothing. The end of a reply is seen only where it is stated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from watchkeeper.analysis import intervals
from watchkeeper.analysis.json_prefix import Prefix, beginning
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

FEWEST = 8


class Masked(Record):
    """The probability that masks took from a reply: `exact` as the provider states it, else at least so much."""

    mass: float
    exact: bool


def masked_mass(logprobs: Any, response_format: Any) -> Masked | None:
    """What the mask of a format took from a reply; None where nothing says so, or the reply does not keep the format.

    `logprobs` is that of a choice in OpenAI's shape, `response_format` that of the request.
    """
    start = _object_of(response_format)
    if not isinstance(logprobs, Mapping) or start is None:
        return None
    stated = logprobs.get("masked_mass")
    if isinstance(stated, int | float) and not isinstance(stated, bool) and 0 <= stated <= 1:
        return Masked(mass=float(stated), exact=True)
    entries = logprobs.get("content")
    if not isinstance(entries, Sequence) or not any(_listed(entry) for entry in entries):
        return None
    kept, at = 1.0, start
    for entry in entries:
        if not at.complete:
            kept *= 1 - _forbidden(entry, at)
        following = at.after(_text(entry) or "")
        if following is None:
            return None
        at = following
    return Masked(mass=1 - kept, exact=False)


def early_sign(masses: Sequence[float], losses: Sequence[float], confidence: float = 0.95) -> Estimate | None:
    """How much more is lost in the half of the cases from which more was masked than in the other half.

    `masses` and `losses` are of the same independent cases. The halves are divided at the median, which counts to the
    lower one; Welch's t. None where a half has fewer than eight cases, or all cases lost the same. It says that two
    things go together in these cases, and not that one is the cause: both may come of what is hard in a case.
    """
    middle = sorted(masses)[len(masses) // 2] if masses else 0.0
    more = [loss for mass, loss in zip(masses, losses, strict=True) if mass > middle]
    less = [loss for mass, loss in zip(masses, losses, strict=True) if mass <= middle]
    if min(len(more), len(less)) < FEWEST or len({*more, *less}) < 2:
        return None
    return intervals.difference(less, more, confidence=confidence)


def _object_of(response_format: Any) -> Prefix | None:
    """The object that a format asks for; None where it asks for something else."""
    if not isinstance(response_format, Mapping):
        return None
    if response_format.get("type") == "json_object":
        return beginning()
    described = response_format.get("json_schema")
    schema = described.get("schema") if isinstance(described, Mapping) else None
    if response_format.get("type") != "json_schema" or not isinstance(schema, Mapping):
        return None
    if schema.get("type") != "object":
        return None
    properties = schema.get("properties")
    closed = (
        schema.get("additionalProperties") is False
        and isinstance(properties, Mapping)
        and set(schema.get("required") or ()) == set(properties)
        and all(isinstance(each, Mapping) and each.get("type") == "string" for each in properties.values())
    )
    return beginning(properties if closed else None)


def _listed(entry: Any) -> bool:
    return isinstance(entry, Mapping) and bool(entry.get("top_logprobs"))


def _forbidden(entry: Any, at: Prefix) -> float:
    """The probability of the listed tokens that cannot follow."""
    if not _listed(entry):
        return 0.0
    total = 0.0
    for each in entry["top_logprobs"]:
        logprob = each.get("logprob") if isinstance(each, Mapping) else None
        if not isinstance(logprob, int | float) or logprob > 0 or math.isnan(logprob):
            continue
        text = _text(each)
        if text is None or (text and at.after(text) is None):
            total += math.exp(logprob)
    return min(1.0, total)


def _text(entry: Any) -> str | None:
    """What a token writes; None for one that writes nothing: the end. Parts of a character stand for some letter."""
    if not isinstance(entry, Mapping):
        return ""
    raw = entry.get("bytes")
    if isinstance(raw, list):
        try:
            return bytes(raw).decode(errors="replace")
        except (ValueError, TypeError):
            return ""
    token = entry.get("token")
    if "bytes" in entry and isinstance(token, str) and token.startswith("<") and token.endswith(">"):
        return None
    return token if isinstance(token, str) else ""
