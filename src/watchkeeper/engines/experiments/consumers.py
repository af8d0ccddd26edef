"""Whoever reads replies by their shape: consumers that are declared in a file, and whether a version breaks them.

    [[consumers]]
    name = "invoice parser"
    regex = "Total: \\d+"            # or json_path = "order.total", or json = true
    reads = ["format.json"]          # features that it hangs on, as far as one knows
    weight = 3                       # how much it matters; 1 when left out

A consumer reads a reply when its regex is found in it, or when the reply is JSON (a fence around it is not taken off)
and has something at the path: names, or numbers for places in a list, with dots between them.

Limits: a regex is the consumer's own and is run as it is, on the first 200,000 characters of a reply; one that
backtracks without end does so here as it would there, and Ctrl-C ends it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from watchkeeper.analysis.multiplicity import holm
from watchkeeper.analysis.two_proportions import fisher_exact, newcombe
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

LONGEST_TEXT = 200_000


class ConsumerError(ValueError):
    """A file of consumers cannot be used; the message names the key and the fix."""


class Consumer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One consumer; exactly one of `regex`, `json_path` and `json` says how it reads."""

    name: str
    regex: str | None = None
    json_path: str | None = None
    json: bool = False
    reads: tuple[str, ...] = ()
    weight: float = 1.0

    def reads_reply(self, text: str) -> bool:
        """Whether it could read a reply."""
        if self.regex is not None:
            return re.search(self.regex, text[:LONGEST_TEXT], re.MULTILINE) is not None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return False
        return self.json_path is None or _has(value, self.json_path.split("."))

    def hangs_on(self) -> frozenset[str]:
        """The features that it reads: those declared, and `format.json` where it reads JSON."""
        return frozenset(self.reads) | (frozenset() if self.regex is not None else {"format.json", "format.fences"})


class Break(Record):
    """How often a consumer could read A and B. `p_value` is adjusted (Holm) over the consumers.

    `verdict`: "breaks" when it reads less of B, "reads more", or "not resolved".
    """

    consumer: str
    read_a: int
    n_a: int
    read_b: int
    n_b: int
    difference: Estimate
    p_value: float
    verdict: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    consumers: list[Consumer] = []


def read_consumers(path: Path) -> tuple[Consumer, ...]:
    """The consumers of a TOML file; raises `ConsumerError`."""
    try:
        found = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File).consumers
    except OSError as error:
        raise ConsumerError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeError, msgspec.ValidationError) as error:
        raise ConsumerError(f"{path}: {error}. See the how-to page on behaviour for the form.") from error
    for each in found:
        ways = (each.regex is not None) + (each.json_path is not None) + each.json
        if ways != 1:
            raise ConsumerError(
                f"{path}: consumer {each.name!r} needs one of regex, json_path and json; it has {ways}."
            )
        if each.regex is not None:
            _check_pattern(path, each)
    return tuple(found)


def breaks(consumers: Sequence[Consumer], a: Sequence[str], b: Sequence[str]) -> tuple[Break, ...]:
    """Which consumers read less of B than of A, the worst first."""
    counts = [(sum(map(c.reads_reply, a)), sum(map(c.reads_reply, b))) for c in consumers]
    adjusted = holm([fisher_exact(in_a, len(a), in_b, len(b)) for in_a, in_b in counts])
    found = []
    for consumer, (in_a, in_b), p_value in zip(consumers, counts, adjusted, strict=True):
        difference = newcombe(in_a, len(a), in_b, len(b))
        verdict = "not resolved"
        if p_value < 0.05:
            verdict = "breaks" if difference.value < 0 else "reads more"
        found.append(
            Break(
                consumer=consumer.name,
                read_a=in_a,
                n_a=len(a),
                read_b=in_b,
                n_b=len(b),
                difference=difference,
                p_value=p_value,
                verdict=verdict,
            )
        )
    return tuple(sorted(found, key=lambda each: (each.verdict != "breaks", each.difference.value)))


def _has(value: Any, path: Sequence[str]) -> bool:
    for name in path:
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return False
    return value is not None


def _check_pattern(path: Path, consumer: Consumer) -> None:
    assert consumer.regex is not None
    try:
        re.compile(consumer.regex)
    except re.error as error:
        raise ConsumerError(f"{path}: the regex of {consumer.name!r} cannot be used: {error}.") from error
