"""Tells how two versions in recorded traffic differ in the shape of their replies, how surely, and who reads that.

Problem
    The replacement wins every benchmark and is revolted against: parsers and habits hang on how replies look, which
    nobody wrote down and no score measures.

Method
    The last answered chat calls of both versions are read with what followed them in their traces. Shape features
    (length, format, hedging, refusal, preamble, ordering, language, tool calls, pace) are compared
    (`analysis/behaviour.py`): Mann-Whitney or Fisher, false discoveries controlled at one in twenty, Cliff's delta with
    an interval, ranked by effect and by who reads the feature. Readers are consumers that the settings declare, and
    steps that were seen after replies: one that fails more after B breaks, and hangs on the features that go with its
    failing. Replies of one user (else session, else trace) count once. With fewer than 8 of those on a side nothing is
    resolved, and the report says so.

Limits
    It compares what was asked of each version; where the questions differ, so does the shape. A step that fails more
    may fail for another reason. Replies whose payloads were thinned or erased are counted and not compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec

from watchkeeper.analysis.behaviour import Behaviour, Difference, behaviour
from watchkeeper.analysis.consumers import Consumer
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.report import Scope, Subjects
from watchkeeper.queries.operations import Manifests
from watchkeeper.queries.question import Reader
from watchkeeper.queries.replies import Replied, replied, told_of
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.queries.versions import Version, version_of
from watchkeeper.records.document import Bar, Bars, Block, Document, Facts, Heading, Table, Text
from watchkeeper.records.record import Scalar

_SUBJECT = "versions:"
_BARS = 12


class BehaviourReport(msgspec.Struct, frozen=True, kw_only=True):
    """Two versions compared by the shape of their replies; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="behaviour",
        version="1",
        theme="change",
        summary="How two versions in recorded traffic differ in the shape of their replies, and who reads that.",
        references=("Cliff 1993", "Benjamini & Hochberg 1995", "Benjamini & Yekutieli 2005"),
    )
    subjects: ClassVar[Subjects] = Subjects(prefix="versions:", parts=("A", "B"), offers="versions")

    calls: Annotated[int, msgspec.Meta(ge=10, le=20_000, description="At most so many of the last calls, a side.")] = (
        500
    )
    rows: Annotated[int, msgspec.Meta(ge=1, le=200, description="At most so many rows in a table.")] = 30
    consumers: Annotated[
        tuple[Consumer, ...], msgspec.Meta(description="What reads replies: name, regex, json_path or json, reads.")
    ] = ()

    async def compose(self, scope: Scope, reader: Reader) -> Document:
        """Write the document; the subject is `versions:A..B`. Raises `ValueError` for one that cannot be used."""
        words = _words(scope.subject)
        components = await _components(reader) if any(word.startswith("manifest:") for word in words) else {}
        a, b = (version_of(word, components) for word in words)
        until = scope.now_ns + 1 if scope.until_ns is None else scope.until_ns
        sides = [await replied(reader, each, scope.since_ns, min(until, FAR_NS), self.calls) for each in (a, b)]
        told = [[each for each in map(told_of, side) if each is not None] for side in sides]
        found = await asyncio.to_thread(behaviour, told[0], told[1], self.consumers)
        blocks: list[Block] = [_facts((a, b), sides, found), Text(text=_verdict(found))]
        if a.manifest and b.manifest:
            blocks += _composition(components[a.manifest], components[b.manifest])
        if found.differences:
            blocks += [Heading(text="What differs"), _bars(found), self._features(found)]
        blocks += [Heading(text="Who reads it"), *self._readers(found), Heading(text="How it was compared"), _METHOD]
        return Document(
            title="Behaviour of two versions",
            subtitle=f"A is {a.word}, B is {b.word}",
            at_ns=scope.now_ns,
            blocks=tuple(blocks),
        )

    def _features(self, found: Behaviour) -> Table:
        names = ("feature", "mean in A", "mean in B", "effect", "interval", "p, adjusted", "verdict", "read by")
        rows: list[tuple[Scalar, ...]] = [
            (
                each.feature,
                float(f"{each.shift.mean_a:.4g}"),
                float(f"{each.shift.mean_b:.4g}"),
                round(each.shift.effect, 2),
                f"{each.interval.low:+.2f} to {each.interval.high:+.2f} ({each.interval.confidence:.3g})",
                float(f"{each.p_value:.3g}"),
                "differs" if each.differs else "not resolved",
                ", ".join(each.readers),
            )
            for each in found.differences[: self.rows]
        ]
        left = len(found.differences) - len(rows)
        caption = f"{left} further features are not shown." if left > 0 else None
        return Table(columns=names, rows=tuple(rows), numeric=(*names[1:4], "p, adjusted"), caption=caption)

    def _readers(self, found: Behaviour) -> list[Block]:
        if not found.consumers:
            said = "None is declared in the settings, and no step followed replies of both versions in their traces."
            return [Text(text=said)]
        names = ("consumer", "known by", "read in A", "read in B", "difference", "p, adjusted", "verdict", "hangs on")
        rows: list[tuple[Scalar, ...]] = [
            (
                each.consumer,
                "traces" if each.seen else "settings",
                f"{each.read_a} of {each.n_a}",
                f"{each.read_b} of {each.n_b}",
                f"{each.difference.value:+.2f} ({each.difference.low:+.2f} to {each.difference.high:+.2f})",
                float(f"{each.p_value:.3g}"),
                each.verdict,
                ", ".join(each.hangs_on),
            )
            for each in found.consumers[: self.rows]
        ]
        return [Table(columns=names, rows=tuple(rows), numeric=("p, adjusted",))]


_METHOD = Text(
    text="Each feature is compared by the Mann-Whitney test, Fisher's exact test where it is yes or no. P-values are "
    "adjusted so that of the features reported one in twenty is expected to be false (Benjamini and Hochberg), and the "
    "intervals of those so that one in twenty of them is expected to miss. The effect is Cliff's delta: how much "
    "oftener a reply of B has more of it than one of A, less the reverse, -1 to 1. The order is effect times one plus "
    "the weight of the readers. Like questions are assumed on both sides."
)


def _words(subject: str) -> tuple[str, str]:
    a, dots, b = subject.removeprefix(_SUBJECT).partition("..")
    if not (subject.startswith(_SUBJECT) and dots and a and b):
        raise ValueError(
            f"the subject is {subject[:80]!r}, expected `versions:A..B`, for example versions:model:old..model:new"
        )
    if a == b:
        raise ValueError(f"both versions are {a[:80]!r}; name two")
    return a, b


async def _components(reader: Reader) -> dict[str, dict[str, str]]:
    found = await reader.ask(Manifests(limit=100_000))
    return {str(each["digest"]): dict(each["components"]) for each in found.items}


def _facts(versions: tuple[Version, Version], sides: Sequence[Sequence[Replied]], found: Behaviour) -> Facts:
    items: list[tuple[str, Scalar]] = []
    counted = ((found.replies_a, found.units_a), (found.replies_b, found.units_b))
    for letter, version, side, (replies, units) in zip("AB", versions, sides, counted, strict=True):
        items += [
            (f"{letter}", version.manifest[:12] if version.manifest else version.word),
            (f"replies in {letter}", replies),
            (f"independent in {letter}", units),
            (f"not kept in {letter}", len(side) - replies),
        ]
    items.append(("features that differ", f"{_differing(found)} of {len(found.differences)}"))
    items.append(("consumers that break", sum(each.verdict == "breaks" for each in found.consumers)))
    return Facts(items=tuple(items))


def _verdict(found: Behaviour) -> str:
    if not found.resolved:
        return (
            f"Not resolved: {found.units_a} independent replies in A and {found.units_b} in B are too few to tell "
            "versions apart; it takes at least 8 on each side. Widen the range, or wait for more calls."
        )
    broken = [each.consumer for each in found.consumers if each.verdict == "breaks"]
    said = (
        f"{_differing(found)} of {len(found.differences)} features differ, of which one in twenty is expected to be "
        "false."
        if _differing(found)
        else f"None of {len(found.differences)} features is shown to differ. An effect of {found.smallest:.2f} in one "
        "feature alone would have been seen four times in five, a smaller one less often."
    )
    return said + (f" These consumers read less of B: {', '.join(broken)}." if broken else "")


def _differing(found: Behaviour) -> int:
    return sum(each.differs for each in found.differences)


def _bars(found: Behaviour) -> Bars:
    moved = [each for each in found.differences if each.differs or each.shift.effect]
    return Bars(
        title="Effect from A to B (Cliff's delta) with its interval; faint where not resolved",
        bars=tuple(_bar(each) for each in moved[:_BARS]),
        unit="effect",
        least=-1.0,
        most=1.0,
    )


def _bar(each: Difference) -> Bar:
    note = f"read by {', '.join(each.readers)}" if each.readers else ""
    return Bar(
        name=each.feature,
        value=each.shift.effect,
        low=each.interval.low,
        high=each.interval.high,
        note=note,
        faint=not each.differs,
    )


def _composition(a: dict[str, str], b: dict[str, str]) -> list[Block]:
    names = [name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]
    rows = tuple((name, a.get(name), b.get(name)) for name in names)
    return [Heading(text="Where the compositions part"), Table(columns=("layer", "A", "B"), rows=rows)]
